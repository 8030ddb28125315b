"""What a connection may cost, and the error of a request that goes beyond or is none."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

BACKLOG = 1024
"""Connections that wait to be accepted. In a full backlog a connection attempt is dropped, and tried again by the
caller's kernel a second later."""
MAX_HEAD = 1 << 16
"""Bytes of a request's head."""
MAX_TARGET = 1 << 14
"""Bytes of a request's target."""
MAX_FIELDS = 128
AHEAD = 16
"""Requests of one connection that are parsed while another one is being answered."""
SLICE = 1 << 13
"""Bytes that are parsed in one go outside of bodies, so that `AHEAD` holds: the rest waits unparsed."""
BUFFERED = 1 << 18
"""Bytes of a body that wait to be taken, beyond which the connection is not read."""
DRAINED = 1 << 16
"""Bytes of a body nobody wanted that are read for the sake of the next request."""
FRAMING = 8
"""Bytes of chunk sizes, extensions and trailers per byte of body; more is no body but an attack (one byte in a chunk
of its own has 5)."""
LINGER = 1.0
"""Seconds that a caller has to read an answer that came before it had sent everything."""
GRACE = 0.25
"""Seconds that a port which stops leaves an idle connection for a request that is on its way."""
HALF_CLOSED = 0.05
"""Seconds that an answer may take after the caller has closed its side; nearly always it has gone altogether."""
TURNS = 8
"""Turns of the loop that it has beside: after a stall of this process those seconds are over before anything ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What differs between ports; seconds.

    Attributes:
        header_timeout: for a request's whole head, for a kept connection to idle, for a TLS handshake.
        write_timeout: in which a caller must take something of what is sent to it.
        connections: connections open at once; further ones wait to be accepted.
    """

    header_timeout: float = 30.0
    write_timeout: float = 30.0
    connections: int = 1024


class RefusedError(Exception):
    """What came is no request that can be served; the connection closes after saying so."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
