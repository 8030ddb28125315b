"""Asks the front how functions do, and tells it that the store has changed, over its Unix socket."""

from __future__ import annotations

import http.client
import logging
import socket
from pathlib import Path

import msgspec

from regrain_watchdog.gateway.spec import Standing

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds that the front has to answer; it answers from what it knows, so only one that stands still is given up."""
ANSWER = 16 << 20
"""Bytes of an answer at most."""
_decode = msgspec.json.Decoder(list[Standing]).decode
Key = tuple[str, str]
"""A function's namespace and name."""


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("front", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Front:
    """The front as the control plane sees it. One that does not answer is started again by the keeper meanwhile.

    Args:
        path: its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._answers = True

    def standings(self) -> dict[Key, Standing]:
        """Return how functions do; empty where the front does not answer."""
        try:
            found = _decode(self._ask("GET", "/functions"))
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            self._away(error)
            return {}
        self._answers = True
        return {(one.namespace, one.name): one for one in found}

    def changed(self) -> None:
        """Have the front look at the store now; one that does not answer looks when it starts, or soon."""
        try:
            self._ask("POST", "/changed")
        except (OSError, http.client.HTTPException) as error:
            self._away(error)

    def _away(self, error: Exception) -> None:
        """Say that the front does not answer, once until it does."""
        if self._answers:
            logger.warning("the front does not answer: %s", error)
        self._answers = False

    def _ask(self, method: str, path: str) -> bytes:
        connection = Connection(self._path)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read(ANSWER)
        finally:
            connection.close()
        if response.status not in (200, 202):
            raise http.client.HTTPException(f"{method} {path} was answered {response.status}")
        return body
