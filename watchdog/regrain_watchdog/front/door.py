"""Who may speak to the admin API.

On loopback, whoever is on this machine: a request must name loopback as its host, so that a web page which
points its own name at 127.0.0.1 gets nothing. Nor does the callback of a gateway, which is sent from this
machine to a URL of anybody's choice. Off loopback, who shows the key. What changes something must not come
from another site's page either: browsers send credentials along, and say where they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import RequestError, SpecError
from regrain.hosts import is_loopback, names_loopback
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.handler import Scope

READING = ("GET", "HEAD")
FUNCTION_STATUS = "x-function-status"
"""A header that every callback of a gateway bears, whatever the function has answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Lets requests in. SpecError where others than this machine could come without a key.

    Attributes:
        host: where the API listens.
        key: what everybody must show; None where being on this machine is enough.
    """

    host: str
    key: Key | None = None

    def __post_init__(self) -> None:
        if self.key is None and not is_loopback(self.host):
            raise SpecError(f"without a key the admin API listens on loopback, not on {self.host}")

    def check(self, scope: Scope) -> None:
        """RequestError 401 or 403 for a request that may not come in."""
        headers = scope.headers
        host = headers.get("host", "")
        if is_loopback(self.host) and not names_loopback(host):
            detail = f"the admin API answers to loopback hosts, not to {host!r}"
            raise RequestError(HTTPStatus.FORBIDDEN, detail)
        origin = headers.get("origin", "")
        if scope.method not in READING and origin and origin.partition("://")[2] != host:
            detail = f"the admin API takes changes from its own page, not from {origin!r}"
            raise RequestError(HTTPStatus.FORBIDDEN, detail)
        if self.key is not None:
            self.key.check(headers)
        elif FUNCTION_STATUS in headers:
            raise RequestError(
                HTTPStatus.FORBIDDEN, "the admin API takes no callback of a gateway without a key"
            )
