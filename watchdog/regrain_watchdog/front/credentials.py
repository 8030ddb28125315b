"""Keys: a secret in a file, and what a request shows to be let in.

A key is read once, at the start, so that a file that is missing or empty is found then and not by the first
caller. It is never logged, and what a caller showed is never repeated.
"""

from __future__ import annotations

import base64
import hmac
import logging
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from regrain.errors import RequestError, SpecError

logger = logging.getLogger(__name__)

HEADER = "x-regrain-key"
AUTHORIZATION = "authorization"
SHORTEST, LONGEST = 16, 4096
"""Characters of a key; below, it could be guessed."""
BEARER = "Bearer"
BASIC = "Basic"
"""What browsers know how to ask for: any user name, the key as its password."""


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that callers must show.

    Attributes:
        schemes: what `Authorization` may be: "Bearer", and "Basic" where browsers are to be let in.
    """

    secret: str = field(repr=False)
    schemes: tuple[str, ...] = (BEARER,)

    @classmethod
    def load(cls, path: str, setting: str, schemes: tuple[str, ...] = (BEARER,)) -> Key | None:
        """Read a key's file; None for the path "". SpecError names the setting of a file that holds none."""
        if not path:
            return None
        name = f"REGRAIN_{setting.upper()} (--{setting.replace('_', '-')})"
        try:
            mode = Path(path).stat().st_mode
            secret = Path(path).read_text("ascii").strip()
        except OSError as error:
            raise SpecError(f"{name}: {path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"{name}: {path} must hold visible ASCII characters alone") from error
        if not SHORTEST <= len(secret) <= LONGEST or not all("!" <= letter <= "~" for letter in secret):
            allowed = f"one line of {SHORTEST} to {LONGEST} visible ASCII characters"
            raise SpecError(f"{name}: {path} must hold a key, which is {allowed}")
        if stat.S_IMODE(mode) & 0o077:
            logger.warning(
                "others may read the key in %s: its mode is %o, wanted is 600", path, stat.S_IMODE(mode)
            )
        return cls(secret, schemes)

    def check(self, headers: Mapping[str, str]) -> None:
        """RequestError 401 unless the headers (names in lower case) show the key."""
        if not any(self._is(shown) for shown in self._shown(headers)):
            raise RequestError(
                HTTPStatus.UNAUTHORIZED,
                f"the key is missing or wrong: send it as Authorization: {BEARER} KEY or as X-Regrain-Key: KEY",
                headers={
                    "www-authenticate": ", ".join(f'{scheme} realm="regrain"' for scheme in self.schemes)
                },
            )

    def without(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers without the key, for those who serve the request: stages could log it."""
        own = {HEADER, AUTHORIZATION} if self._is(self._authorized(headers)) else {HEADER}
        return {name: text for name, text in headers.items() if name not in own}

    def _is(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode(), self.secret.encode())

    def _shown(self, headers: Mapping[str, str]) -> tuple[str, str]:
        return headers.get(HEADER, ""), self._authorized(headers)

    def _authorized(self, headers: Mapping[str, str]) -> str:
        """What the header Authorization shows as a key; "" for nothing."""
        scheme, _, rest = headers.get(AUTHORIZATION, "").partition(" ")
        rest = rest.strip()
        if scheme.lower() == "bearer":
            return rest
        if scheme.lower() == "basic" and BASIC in self.schemes:
            return _password(rest)
        return ""


def _password(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode().partition(":")[2]
    except ValueError:  # no base64, nothing in UTF-8, or not even ASCII
        return ""
