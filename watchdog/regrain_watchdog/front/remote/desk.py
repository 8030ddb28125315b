"""A connection over which another pod sends frames: each is answered before the next one may come.

Its times are looked after by the port that accepted it, as those of connections that speak HTTP.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from blake3 import blake3

from regrain.errors import RequestError
from regrain_watchdog.front import problem
from regrain_watchdog.front.handler import Keeper
from regrain_watchdog.front.http1.exchange import COPIED
from regrain_watchdog.front.http1.limits import GRACE, LINGER
from regrain_watchdog.front.remote import hosting, switch
from regrain_watchdog.front.remote.gathering import Gathering
from regrain_watchdog.front.remote.guests import Guests

logger = logging.getLogger(__name__)

NEVER = float("inf")
OK = HTTPStatus.OK.value
_HEAD = switch.MAC + switch.HEAD.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for all frames of a connection.

    guests: finds who runs a group. version: of the app, which was asked for. key: of the connection.
    limit: bytes of a frame at most. timeout: seconds in which it must arrive.
    """

    guests: Guests
    version: str
    key: bytes = field(repr=False)
    limit: int
    timeout: float


class Desk(Gathering):
    """A connection on which frames are answered.

    Args:
        port: looks after it.
        terms: of its frames.

    Attributes:
        deadline: as `handler.Tended`.
    """

    transport: asyncio.Transport

    def __init__(self, port: Keeper, terms: Terms) -> None:
        super().__init__(_HEAD)
        self.deadline = NEVER
        self._port = port
        self._loop = port.loop
        self._terms = terms
        self._number = 0
        self._give_up: Callable[[], None] | None = None
        self._stopping = self._ended = False
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        """Wait for a frame."""
        self.transport = transport
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The other pod has gone: what it waits for is given up."""
        self._ended = True
        self.deadline = NEVER
        self.ignore()
        give_up, self._give_up = self._give_up, None
        if give_up is not None:
            give_up()
        self._port.lost(self)

    def pause_writing(self) -> None:
        """The other pod takes less than it is sent."""
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._port.limits.write_timeout

    def resume_writing(self) -> None:
        """It has taken all."""
        self._unsent = 0
        if self._is_free:
            self._wait()

    def begun(self, head: memoryview) -> int:
        """A frame begins: from here on the rest of it has its time."""
        nbytes: int = switch.HEAD.unpack_from(head, switch.MAC)[2]
        limit = self._terms.limit if self._number else 0
        if self._give_up is not None or self._unsent:
            self._close()  # another one is being answered, or its answer has not been taken
        elif nbytes > limit:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE if self._number else HTTPStatus.UNAUTHORIZED
            self._refuse(RequestError(status, f"a frame of {nbytes} bytes, over {limit}"))
        else:
            self.deadline = self._loop.time() + self._terms.timeout
            return nbytes
        return -1

    def arrived(self, message: memoryview) -> None:
        """A frame is here."""
        number, epoch, _ = switch.HEAD.unpack_from(message, switch.MAC)
        made = blake3(message[switch.MAC :], key=self._terms.key).digest()
        if not hmac.compare_digest(made, message[: switch.MAC]) or number != self._number:
            self._refuse(RequestError(HTTPStatus.UNAUTHORIZED, "what proves the frame is missing or wrong"))
            return
        self._number += 1
        if not number:
            self._wait()
            return
        self.deadline = NEVER
        terms = self._terms
        self._give_up = hosting.host(terms.guests, terms.version, epoch, message[_HEAD:], self._told)

    def _told(self, answer: bytes | RequestError) -> None:
        """A frame has been answered."""
        self._give_up = None
        if isinstance(answer, RequestError):
            self._say(answer.status.value, problem.problem(answer, ""), keeps=not self._stopping)
        else:
            self._say(OK, answer, keeps=not self._stopping)
        if self._stopping and not self._ended:
            self._close()

    def _refuse(self, error: RequestError) -> None:
        """Answer what is no frame, and close."""
        self._say(error.status.value, problem.problem(error, ""), keeps=False)
        self._close(linger=True)

    def _say(self, status: int, data: bytes, *, keeps: bool) -> None:
        self._wait()
        head = switch.ANSWER.pack(len(data), status, keeps)
        if self.transport.is_closing():
            return
        if len(data) <= COPIED:
            self.transport.write(head + data)
        else:
            self.transport.writelines((head, data))

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        unsent = self.transport.get_write_buffer_size()
        if self._unsent > unsent > 0:
            self._unsent = unsent
            self.deadline = now + self._port.limits.write_timeout
        elif unsent or self._ended:
            self.transport.abort()
        elif self.has_begun:
            detail = f"the frame did not arrive within {self._terms.timeout:g} s"
            self._refuse(RequestError(HTTPStatus.REQUEST_TIMEOUT, detail))
        else:
            self._close()

    def stop(self) -> None:
        """Close after the answer on its way; if there is none, after a moment for a frame on its way."""
        self._stopping = True
        self._loop.call_later(GRACE, self.make_room)

    @property
    def is_idle(self) -> bool:
        """Whether its caller has proven to be a pod, has taken what it was sent, and waits for nothing."""
        return self._number > 0 and self._is_free and not self.transport.get_write_buffer_size()

    def make_room(self) -> None:
        """Close, if nothing of a frame has come."""
        if self._is_free:
            self._close()

    @property
    def _is_free(self) -> bool:
        return self._give_up is None and not self.has_begun and not self._ended

    def _wait(self) -> None:
        self.deadline = self._loop.time() + self._port.limits.header_timeout

    def _close(self, *, linger: bool = False) -> None:
        """Close once what was sent has been taken; another pod that still sends has a moment to hear of it."""
        self._ended = True
        self.ignore()
        if linger:
            self.deadline = self._loop.time() + LINGER
        else:
            self.deadline = self._loop.time() + self._port.limits.write_timeout
            self.transport.close()
