"""The heads of responses.

Nothing that a handler hands over can end a header early or begin another message: a response is one `content-length`
or chunks, written here, and header text without line ends.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from regrain_watchdog.front.handler import Fields

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BODILESS = frozenset({204, 304})
"""Statuses whose responses have no body and tell no length."""
OURS = frozenset(
    {"content-length", "transfer-encoding", "keep-alive", "upgrade", "trailer", "date", "server"}
)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONNECTION = "connection"


class Heads:
    """Writes heads; the date is made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._starts: dict[int, str] = {}

    def start(self, status: int) -> str:
        """Return the status line and the headers that every response has."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._starts.clear()
        found = self._starts.get(status)
        if found is None:
            date = formatdate(second, usegmt=True)
            found = f"HTTP/1.1 {status} {_phrase(status)}\r\nserver: regrain\r\ndate: {date}\r\n"
            self._starts[status] = found
        return found

    def write(self, status: int, fields: Fields, framing: str) -> bytes:
        """Return a head; ValueError for a header that cannot be sent as what it is.

        Args:
            status: 101, or 200 to 599.
            fields: headers; `connection` is left to the framing.
            framing: the lines that say where the body ends and whether the connection stays.
        """
        lines = [self.start(status)]
        for name, value in fields:
            if label := _label(name):
                lines.append(f"{label}{value}\r\n")
        count = len(lines)
        given = "".join(lines)
        # a line per header after the three of the start
        if given.count("\n") != count + 2 or given.count("\r") != count + 2 or "\0" in given:
            raise ValueError("a response's header holds a line end or a NUL")
        return (given + framing).encode()


def framing(length: int | None, *, keeps: bool, is_old: bool) -> str:
    """Return the last lines of a head: a body of `length` bytes, or chunks (None) unless the caller is old."""
    stays = ("connection: keep-alive\r\n" if is_old else "") if keeps else "connection: close\r\n"
    if length is None:
        return f"{stays}\r\n" if is_old else f"transfer-encoding: chunked\r\n{stays}\r\n"
    return f"content-length: {length}\r\n{stays}\r\n"


def bare(*, keeps: bool) -> str:
    """Return the last lines of a head that has no body, not even an empty one."""
    return "\r\n" if keeps else "connection: close\r\n\r\n"


def switching(protocol: str) -> str:
    """Return the last lines of a head behind which another protocol begins."""
    return f"connection: upgrade\r\nupgrade: {protocol}\r\n\r\n"


def closes(fields: Fields) -> bool:
    """Whether a handler wants the connection to close after its response."""
    for name, value in fields:  # a generator would take longer than all of this
        if len(name) == len(CONNECTION) and name.lower() == CONNECTION and value.lower() == "close":
            return True
    return False


@lru_cache(maxsize=512)
def _label(name: str) -> str:
    """A header's name as it begins its line; "" for the one that is the framing's."""
    lower = name.lower()
    if lower == CONNECTION:
        return ""
    if lower in OURS:
        raise ValueError(f"the header {name!r} belongs to the connection")
    if not TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no header's name")
    return f"{name}: "


@lru_cache(maxsize=128)
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Other"
