"""The gateway's user and password: made at its first start, kept in files, never logged."""

from __future__ import annotations

import base64
import hmac
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from regrain.errors import SpecError
from regrain_watchdog.gateway import private

USER = "basic-auth-user"
PASSWORD = "basic-auth-password"  # noqa: S105 - the name of a file
REALM = 'Basic realm="Restricted"'
REFUSED = "invalid credentials"
FIRST_USER = "admin"
OPEN = ("/build",)
"""Paths of the control plane with a check of their own."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may use `/system`."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Credentials:
        """Read the files in a folder, which are made at first; SpecError names one that is of no use."""
        user = _line(folder / USER, FIRST_USER)
        return cls(user, _line(folder / PASSWORD, secrets.token_urlsafe(32)))

    def admit(self, authorization: str) -> bool:
        """Whether a request's header Authorization shows user and password; it takes as long if it does not."""
        scheme, _, shown = authorization.partition(" ")
        try:
            pair = base64.b64decode(shown.strip(), validate=True) if scheme.lower() == "basic" else b""
        except ValueError:  # no base64
            pair = b""
        return hmac.compare_digest(pair, f"{self.user}:{self.password}".encode())


def _line(path: Path, first: str) -> str:
    try:
        text = private.made(path, first.encode).decode().strip()
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} must hold one line of text") from error
    if not text or not text.isprintable() or (path.name == USER and ":" in text):
        raise SpecError(
            f"{path} must hold one line of text{', without a colon' if path.name == USER else ''}"
        )
    return text
