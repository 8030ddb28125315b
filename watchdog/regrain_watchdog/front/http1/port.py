"""A listening socket and its connections.

Connections are accepted here and not by an asyncio server, so that those beyond the limit wait in the kernel's
backlog. One timer looks after the deadlines of all of them, while there are any.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl

from regrain_watchdog.front.handler import Handler, Prompt, Successor, Tended
from regrain_watchdog.front.http1.connection import Connection
from regrain_watchdog.front.http1.limits import BACKLOG, LINGER, Limits
from regrain_watchdog.front.http1.response import Heads

logger = logging.getLogger(__name__)

ACCEPTED = 64
"""Connections accepted in one turn of the loop."""
RETRY = 1.0
"""Seconds until connections are accepted again where the process has run out of descriptors."""
SWEEP = 1.0
"""Seconds between two looks at deadlines, at most; a quarter of the header timeout where that is less."""


class Port:
    """Serves a handler on a socket.

    Args:
        handler: answers the requests.
        bound: listens already; it is closed by `stop`.
        limits: of the connections.
        tls: for HTTPS; None for HTTP.
    """

    def __init__(
        self, handler: Handler, bound: socket.socket, limits: Limits, tls: ssl.SSLContext | None
    ) -> None:
        self.handler = handler
        self.prompt = handler if isinstance(handler, Prompt) else None
        self.heads = Heads()
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self._bound = bound
        self._tls = tls
        self._connections: set[Tended] = set()
        self._greeting: set[asyncio.Task[None]] = set()
        self._accepting = False
        self._stopping = False
        self._empty = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._period = min(SWEEP, limits.header_timeout / 4, limits.write_timeout / 4)

    def start(self) -> None:
        """Accept connections from here on."""
        self._look_for_more()

    async def stop(self, timeout: float) -> bool:
        """Accept no more and let what is in flight finish; whether it did within `timeout` seconds.

        May be called again for what did not.
        """
        if not self._stopping:
            self._stop_accepting()
        try:
            async with asyncio.timeout(timeout):
                while self._connections or self._greeting:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return False
        if self._sweeper is not None:
            self._sweeper.cancel()
        return True

    def cut(self) -> None:
        """Close every connection as it is; who answers one is cancelled."""
        for task in self._greeting:
            task.cancel()
        for connection in self._connections:
            connection.transport.abort()

    def opened(self, connection: Connection) -> None:
        """A connection is there."""
        self._connections.add(connection)
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(self._period, self._sweep)
        if self._stopping:
            connection.stop()

    def succeeded(self, connection: Connection, successor: Successor) -> None:
        """A connection speaks another protocol from here on."""
        self._connections.discard(connection)
        self._connections.add(successor)
        if self._stopping:
            successor.stop()

    def lost(self, connection: Tended) -> None:
        """A connection has gone."""
        self._connections.discard(connection)
        self._left()

    def _stop_accepting(self) -> None:
        self._stopping = True
        if self._retry is not None:
            self._retry.cancel()
        self._look_no_more()
        with contextlib.suppress(
            OSError
        ):  # whom the kernel has let in already, as far as there are descriptors
            for _ in range(BACKLOG):
                if not self._take_in():
                    break
        self._bound.close()
        for connection in list(self._connections):
            connection.stop()

    def _look_for_more(self) -> None:
        self._retry = None
        if not self._accepting and not self._stopping:
            self._accepting = True
            self.loop.add_reader(self._bound.fileno(), self._accept)

    def _look_no_more(self) -> None:
        if self._accepting:
            self._accepting = False
            self.loop.remove_reader(self._bound.fileno())

    @property
    def _is_full(self) -> bool:
        return len(self._connections) + len(self._greeting) >= self.limits.connections

    def _accept(self) -> None:
        for _ in range(ACCEPTED):
            if self._is_full and not self._make_room():
                self._look_no_more()
                return
            try:
                if not self._take_in():
                    return
            except OSError as error:
                logger.warning("no connection can be accepted: %s", error.strerror)
                self._look_no_more()
                self._retry = self.loop.call_later(RETRY, self._look_for_more)
                return

    def _take_in(self) -> bool:
        """Accept a connection, if one waits; whether it did. OSError where there are no descriptors."""
        try:
            accepted, _ = self._bound.accept()
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionAbortedError:
            return True  # it waited, and has gone
        accepted.setblocking(False)
        task = self.loop.create_task(self._greet(accepted))
        self._greeting.add(task)
        task.add_done_callback(self._greeted)
        return True

    def _make_room(self) -> bool:
        """Close the connection that has idled longest, if one does, in favour of one that waits."""
        idle = min(
            (one for one in self._connections if one.is_idle), key=lambda one: one.deadline, default=None
        )
        if idle is None:
            return False
        idle.make_room()
        self._connections.discard(idle)
        return True

    async def _greet(self, accepted: socket.socket) -> None:
        secure = self._tls is not None
        try:
            await self.loop.connect_accepted_socket(
                lambda: Connection(self),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self.limits.header_timeout if secure else None,
                ssl_shutdown_timeout=LINGER if secure else None,
            )
        except OSError as error:  # ssl's errors and those of the connection are among them
            logger.debug("a connection was not made: %s", error)
            accepted.close()

    def _greeted(self, task: asyncio.Task[None]) -> None:
        self._greeting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a connection was not made", exc_info=error)
        self._left()

    def _left(self) -> None:
        if not self._connections and not self._greeting:
            self._empty.set()
        if not self._is_full and self._retry is None:
            self._look_for_more()

    def _sweep(self) -> None:
        now = self.loop.time()
        for connection in [one for one in self._connections if one.deadline <= now]:
            connection.expire(now)
        if self._retry is None:
            self._look_for_more()  # a connection may idle since, and make room
        again = bool(self._connections)
        self._sweeper = self.loop.call_later(self._period, self._sweep) if again else None
