"""The upstream as the proxy knows it: where it is, whether it can be asked, and its process if it is ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from regrain.errors import LoadError, SpecError
from regrain_watchdog.front.upstream.client import Connection, Pool, UpstreamError, accepts
from regrain_watchdog.front.upstream.process import STOP_TIMEOUT, Process

logger = logging.getLogger(__name__)

LOOK = 0.02
"""Seconds between two looks whether a process that starts accepts connections: nothing else tells of it."""
READY_TIMEOUT = 5.0
"""Seconds that `ready_path` may take to answer."""
READY_FD = "REGRAIN_READY_FD"
"""Variable that names the descriptor by which a WSGI server tells that its application is loaded."""
GOOD = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an upstream listens. `prefix` stands before every path."""

    host: str
    port: int
    prefix: str = ""

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read http://HOST[:PORT][/PREFIX]; SpecError if it is none."""
        allowed = "http://HOST:PORT, with a path before all others if it has one"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SpecError(f"REGRAIN_UPSTREAM_URL: was {url!r}, allowed is {allowed}") from error
        if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise SpecError(f"REGRAIN_UPSTREAM_URL: was {url!r}, allowed is {allowed}")
        return cls(host=parts.hostname, port=port or 80, prefix=parts.path.rstrip("/"))

    @property
    def netloc(self) -> str:
        """Host and port as URLs and the header Host have them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Upstream:
    """An HTTP server that requests are passed on to.

    Args:
        address: where it listens.
        command: what starts it; empty where somebody else runs it.
        environment: variables of its process.
        ready_path: path that answers 2xx once it is ready; "" if accepting connections is enough.
        listening: the socket that it listens on, for gunicorn (`--bind fd://N`), which then writes a byte to the
            descriptor READY_FD as soon as it has loaded the application.
        output: the descriptor that its process writes to; None for ours.
        patience: seconds that its process has to end after SIGTERM.
    """

    def __init__(
        self,
        address: Address,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        ready_path: str = "",
        listening: socket.socket | None = None,
        output: int | None = None,
        patience: float = STOP_TIMEOUT,
    ) -> None:
        self.address = address
        self.pool = Pool(Connection, address.host, address.port)
        self._ready_path = ready_path
        self._accepting = not command
        self._told = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._listening = listening
        self._pipe = os.pipe() if listening is not None else None
        descriptors: tuple[int, ...] = ()
        if listening is not None and self._pipe is not None:
            descriptors = (listening.fileno(), self._pipe[1])
            command = [*command, "--bind", f"fd://{listening.fileno()}"]
            environment = {**environment, READY_FD: str(self._pipe[1])}
        self.process = (
            Process(
                command,
                environment=environment,
                changed=self._changed,
                descriptors=descriptors,
                output=output,
                patience=patience,
            )
            if command
            else None
        )

    async def start(self, timeout: float) -> None:
        """Start its process and wait until it is ready.

        Raises:
            LoadError: the process ended, or `timeout` seconds were not enough.
        """
        if self._pipe is not None:
            os.set_blocking(self._pipe[0], False)
            asyncio.get_running_loop().add_reader(self._pipe[0], self._hear, self._pipe[0])
        if self.process is not None:
            await self.process.start()
        end = time.monotonic() + timeout
        while trouble := await self.unready():
            if self._ended.is_set() and self.process is not None:
                raise LoadError(f"the upstream ended before it was ready: {self.process.ended or trouble}")
            if time.monotonic() >= end:
                raise LoadError(f"not ready after {timeout:g} s: {trouble}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), LOOK)

    @property
    def down(self) -> str:
        """Why no request can be passed on now, as far as it is known without asking; "" if one can."""
        if self.process is not None and self.process.ended:
            return f"the upstream has ended ({self.process.ended}) and is started again"
        return "" if self._accepting else "the upstream does not accept connections yet"

    async def unready(self) -> str:
        """Why it is not ready for requests, in one sentence; "" when it is."""
        if self.down:
            return self.down
        if self._ready_path:
            return await self._ask_ready()
        if self.process is None and not await accepts(self.pool):
            return "the upstream does not accept connections"
        return ""

    async def stop(self) -> None:
        """End its process, which serves nothing any more."""
        self._close()
        if self.process is not None:
            await self.process.stop()

    async def kill(self) -> None:
        """End its process at once."""
        self._close()
        if self.process is not None:
            await self.process.kill()

    def strike(self) -> None:
        """Kill its process and wait for nothing; `stop` is to follow if the loop goes on."""
        if self.process is not None:
            self.process.strike()

    def _close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self.pool.close()
        if self._pipe is not None:
            asyncio.get_running_loop().remove_reader(self._pipe[0])
            for descriptor in self._pipe:
                os.close(descriptor)
            self._pipe = None
        if self._listening is not None:
            self._listening.close()

    def _changed(self) -> None:
        """Its process has started or ended."""
        self._accepting = False
        self._told.clear()
        if self._looking is not None:
            self._looking.cancel()
        if self.process is not None and not self.process.ended:
            self._looking = asyncio.create_task(self._look())
        else:
            self._ended.set()

    def _hear(self, descriptor: int) -> None:
        os.read(descriptor, 64)
        self._told.set()

    async def _look(self) -> None:
        """Wait until the process that was started is there for requests."""
        if self._pipe is not None:
            await self._told.wait()
        while not await accepts(self.pool):
            await asyncio.sleep(LOOK)
        self._accepting = True
        if self.process is not None and self.process.births > 1:
            logger.warning("the upstream accepts connections again")

    async def _ask_ready(self) -> str:
        path = self.address.prefix + self._ready_path
        head = f"GET {path} HTTP/1.1\r\nHost: {self.address.netloc}\r\nConnection: close\r\n\r\n"
        connection = None
        try:
            async with asyncio.timeout(READY_TIMEOUT):
                connection = await self.pool.connect()
                answer = await connection.ask(head.encode(), headless=False)
        except (UpstreamError, TimeoutError):
            return f"the upstream does not answer GET {path}"
        finally:
            if connection is not None:
                connection.close()
        return "" if answer.status in GOOD else f"the upstream answers GET {path} with {answer.status}"
