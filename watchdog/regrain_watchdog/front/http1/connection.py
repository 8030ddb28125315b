"""A caller's connection: its requests are answered one after the other.

A request is handed over once all that came with it has been parsed, so that a body which came with its head is there
at once. Times are not watched by timers of its own: its port looks at `deadline` now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Protocol, cast

from regrain.errors import RequestError
from regrain_watchdog.front import handler, problem
from regrain_watchdog.front.handler import CallerGoneError, Handler, Prompt, Successor
from regrain_watchdog.front.http1 import response
from regrain_watchdog.front.http1.exchange import Exchange
from regrain_watchdog.front.http1.limits import GRACE, HALF_CLOSED, LINGER, TURNS, RefusedError
from regrain_watchdog.front.http1.parse import Requests
from regrain_watchdog.front.http1.response import Heads

logger = logging.getLogger(__name__)

NEVER = float("inf")
FAILED = RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log says why")
BROKEN_OFF = RefusedError(HTTPStatus.BAD_REQUEST, "the body broke off")


class Keeper(handler.Keeper, Protocol):
    """What a connection needs of its port."""

    handler: Handler
    prompt: Prompt | None
    heads: Heads

    def opened(self, connection: Connection) -> None:
        """A connection is there."""

    def succeeded(self, connection: Connection, successor: Successor) -> None:
        """A connection speaks another protocol from here on."""


class Connection(asyncio.Protocol):
    """A caller's connection.

    Attributes:
        deadline: loop time at which the port calls `expire`.
        stopping: whether it closes after the response on its way.
    """

    transport: asyncio.Transport

    def __init__(self, port: Keeper) -> None:
        self.deadline = NEVER
        self._answered = False
        self.stopping = False
        self.heads = port.heads
        self._port = port
        self._loop = port.loop
        self._handler = port.handler
        self._prompt = port.prompt
        self._limits = port.limits
        self._requests = Requests(self)
        self._serving: Exchange | None = None
        self._patience = 0.0
        self._cancel: Callable[[], object] | None = None
        self._refusal: RefusedError | None = None
        self._is_cut = False
        self._closing = False
        self._holds = 0
        self._room: asyncio.Future[None] | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        """Wait for a request."""
        self.transport = transport
        self.deadline = self._loop.time() + self._limits.header_timeout
        self._port.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The caller has gone: who answers it is cancelled."""
        self._closing = True
        self.deadline = NEVER
        self._cut()
        self._requests.close()
        self.resume_writing()
        self._port.lost(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and hand over the next request if nothing is being answered."""
        requests = self._requests
        if requests.ended:
            return
        waited = not requests.in_head
        try:
            requests.feed(data)
        except RefusedError as refusal:
            self._refuse(refusal)
        if self._patience:
            self._look()
        if self._serving is None:
            if waited and requests.in_head and self._room is None:
                self.deadline = self._loop.time() + self._limits.header_timeout
            self._next()

    def eof_received(self) -> bool:
        """The caller sends no more: it has gone, or waits for an answer that is nearly there."""
        requests = self._requests
        requests.end()
        if self._patience:
            self._look()
        if self._closing or (self._serving is None and not requests.ahead):
            return False
        if self.transport.get_extra_info("ssl_object") is not None:
            return False  # TLS has no half of a connection
        self._loop.call_later(HALF_CLOSED, self._give_up, TURNS)
        return True

    def pause_writing(self) -> None:
        """The caller takes less than it is sent."""
        self._room = self._loop.create_future()
        self._unsent = self.transport.get_write_buffer_size()
        self.deadline = self._loop.time() + self._limits.write_timeout

    def resume_writing(self) -> None:
        """There is room again, or nobody to make room for."""
        room, self._room = self._room, None
        if room is None:
            return
        room.set_result(None)
        if self._closing:
            return
        if self._serving is not None:
            self.deadline = NEVER
        else:
            self._wait()

    def hold(self) -> None:
        """Receive nothing more for now."""
        self._holds += 1
        if self._holds == 1 and not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self) -> None:
        """Receive again, as far as nobody else holds it."""
        self._holds -= 1
        if not self._holds and not self.transport.is_closing():
            self.transport.resume_reading()

    async def drain(self) -> None:
        """Wait until the caller takes more; CallerGoneError if it never will."""
        if self._room is not None:
            await asyncio.shield(self._room)
        if self.transport.is_closing():
            raise CallerGoneError("the connection is closed")

    def leave(self, head: bytes, make: Callable[[handler.Keeper], Successor]) -> None:
        """Send a head, and leave the connection to what is made."""
        successor = make(self._port)
        self._closing = True
        self.deadline = NEVER
        self._requests.close()
        self.transport.write(head)
        successor.connection_made(self.transport)
        self.transport.set_protocol(cast("asyncio.BaseProtocol", successor))
        self._port.succeeded(self, successor)

    def stop(self) -> None:
        """Close after the response on its way; if there is none, after a moment for a request on its way."""
        self.stopping = True
        if self._serving is None:
            self._loop.call_later(GRACE, self._close_if_idle)

    def expire(self, now: float) -> None:
        """The deadline has passed."""
        unsent = self.transport.get_write_buffer_size()
        if self._room is not None and unsent < self._unsent:
            self._unsent = unsent
            self.deadline = now + self._limits.write_timeout
        elif unsent or self._closing:
            logger.debug("a caller that takes nothing was cut off")
            self.transport.abort()
        elif self._requests.in_head:
            detail = f"the request's head did not arrive within {self._limits.header_timeout:g} s"
            self._say(RefusedError(HTTPStatus.REQUEST_TIMEOUT, detail))
        elif self._patience:
            detail = f"the request's body did not arrive within {self._patience:g} s"
            self._patience = 0.0
            self._say(RefusedError(HTTPStatus.REQUEST_TIMEOUT, detail))
        else:
            self._close()

    def _next(self) -> None:
        """Begin with the next request, if there is one and the caller takes what was sent."""
        if self._room is not None or self._closing:
            return
        requests = self._requests
        if not requests.ahead:
            self._go_on()
        if requests.ahead:
            exchange = self._serving = requests.ahead.popleft()
            self.deadline = NEVER
            if exchange.body.is_coming:
                self._go_on()  # some of it may wait unparsed, behind as many requests as are parsed ahead
            self._begin(exchange)
        elif self._refusal is not None:
            self._say(self._refusal)
        elif requests.ended:
            self._close()

    def _go_on(self) -> None:
        """Parse what waits."""
        try:
            self._requests.go_on()
        except RefusedError as refusal:
            self._refuse(refusal)

    def _begin(self, exchange: Exchange) -> None:
        """Have a request answered, without a task if it can be."""
        give_up, body = None, exchange.body
        if self._prompt is not None and body.is_coming and not exchange.head.expects:
            self._patience = self._prompt.patience(exchange.head)
            if self._patience:
                body.gather()
                self.deadline = self._loop.time() + self._patience
                return
        if self._prompt is not None and body.ended:
            give_up = self._prompt.at_once(exchange.head, exchange, partial(self._served, exchange))
        if give_up is not None:
            self._cancel = partial(self._give_back, exchange, give_up)
        else:
            self._cancel = self._loop.create_task(self._serve(exchange)).cancel

    def _look(self) -> None:
        """Begin with a request whose body is waited for, if that has come, or broke off."""
        exchange = self._serving
        if exchange is not None and not exchange.body.is_coming:
            self._patience, self.deadline = 0.0, NEVER
            self._begin(exchange)

    def _give_back(self, exchange: Exchange, give_up: Callable[[], None]) -> None:
        give_up()
        self._served(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._handler.__rsgi__(exchange.head, exchange)
            exchange.end()
            if not exchange.answered and not self._is_cut:
                raise RuntimeError("the handler gave no response")
        except asyncio.CancelledError:
            self._fail(exchange, None)
        except CallerGoneError:
            self._fail(exchange, BROKEN_OFF)
        except Exception:
            logger.exception("a request failed unexpectedly")
            self._fail(exchange, FAILED)
        self._served(exchange)

    def _fail(self, exchange: Exchange, refusal: RefusedError | None) -> None:
        """Its handler failed: say so, or break off what it began, so that nobody takes it for complete."""
        if exchange.answered:
            if exchange.is_open:
                self.transport.abort()
        elif refusal is not None and not self._closing and not self._is_cut:
            exchange.keeps = False
            self._refusal = refusal

    def _served(self, exchange: Exchange) -> None:
        self._serving = self._cancel = None
        if self._closing or self.transport.is_closing():
            return
        if not exchange.answered:
            if self._refusal is not None:
                self._say(self._refusal)
            else:
                self._close()
            return
        if not exchange.keeps:
            self._close(linger=not exchange.body.ended)
            return
        if not exchange.body.ended:
            exchange.body.discard()
        self._wait()
        if self.stopping:  # since its head was sent, which did not say so
            self.stop()

    def _wait(self) -> None:
        """Wait for the next request, which may be there already; first for the caller to take what was sent."""
        self._answered = True
        if self._room is None:
            self.deadline = self._loop.time() + self._limits.header_timeout
            self._next()

    def _refuse(self, refusal: RefusedError) -> None:
        """What comes is no request; who reads the body that it broke hears of it, and all before it is answered."""
        requests = self._requests
        requests.end()
        broken = requests.receiving
        if broken is not None and broken is self._serving:
            broken.keeps = False
            return
        if broken is not None and requests.ahead and requests.ahead[-1] is broken:
            requests.ahead.pop()
        self._refusal = refusal

    def _say(self, refusal: RefusedError) -> None:
        """Answer what is no request, and close."""
        content = problem.problem(RequestError(refusal.status, refusal.detail), "")
        framing = response.framing(len(content), keeps=False, is_old=False)
        fields = [("content-type", problem.MEDIA_TYPE)]
        self.transport.write(self.heads.write(refusal.status.value, fields, framing) + content)
        self._close(linger=True)

    def _close(self, *, linger: bool = False) -> None:
        """Close once what was sent has been taken; a caller that still sends gets time to hear of it."""
        self._closing = True
        self._requests.end()
        if not linger:
            self.deadline = self._loop.time() + self._limits.write_timeout
            self.transport.close()
            return
        self.deadline = self._loop.time() + LINGER
        while self._holds > 0:
            self.release()  # what still comes is read and thrown away; unread, it would take the answer along
        if self.transport.can_write_eof():
            self.transport.write_eof()

    @property
    def is_idle(self) -> bool:
        """Whether it was kept open after an answer that was taken, and nothing of another request has come."""
        return self._answered and self._is_free and not self.transport.get_write_buffer_size()

    def make_room(self) -> None:
        """Close, since others wait to be accepted and this one idles."""
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._is_free:
            self._close()

    @property
    def _is_free(self) -> bool:
        requests = self._requests
        return not (self._serving or self._closing or requests.ahead or requests.in_head)

    def _give_up(self, turns: int) -> None:
        """The caller sends no more and has no answer, nor will have within so many turns of the loop: it has gone."""
        if turns:
            self._loop.call_soon(self._give_up, turns - 1)
            return
        self._cut()
        if not self._closing and self._serving is None:
            self._close()

    def _cut(self) -> None:
        """Cancel who answers."""
        self._is_cut = True
        self._requests.ahead.clear()
        if self._cancel is not None:
            self._cancel()
