"""A gRPC server on the front's own event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import grpc

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc import health, reflect
from regrain_watchdog.front.grpc.methods import SERVICES, Methods
from regrain_watchdog.front.listen import bind
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference
from regrain_watchdog.front.settings import PREFIX

logger = logging.getLogger(__name__)

HEAD = 64 << 10
"""Bytes that a message may have beyond the largest body: names, shapes, media types."""
PING = 10_000
"""Milliseconds that must lie between two pings of an idle client."""
LOOK = 0.1
"""Seconds between two looks whether the server has ended by itself; while it has, callers are refused."""


class Listening:
    """A server on a port.

    Args:
        handlers: of its methods.
        config: address, limits.
        prefix: how the variable begins that chooses the port.
        usual: the port that nobody need have asked for: any free one will do where it is taken.
    """

    def __init__(
        self,
        handlers: Sequence[grpc.GenericRpcHandler],
        config: Config,
        *,
        prefix: str = PREFIX,
        usual: int | None = None,
    ) -> None:
        self.port = 0
        self._usual = usual
        self._prefix = prefix
        self._config = config
        self._handlers = tuple(handlers)
        self._server: grpc.aio.Server | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where clients of this machine reach it, such as "127.0.0.1:9000"."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)  # noqa: S104
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def start(self) -> None:
        """Accept calls from here on; SpecError if the address cannot be had."""
        self.port = self._free(self._config.grpc_port or 0)
        await self._open()
        self._keeping = asyncio.create_task(self._keep())

    def drain(self) -> None:
        """Let what does not end by itself end."""

    async def stop(self, timeout: float) -> None:
        """Accept nothing more, let what is in flight finish within `timeout` seconds, and end."""
        self.drain()
        if self._keeping is not None:
            self._keeping.cancel()
        if self._server is not None:
            await self._server.stop(timeout)
            self._server = None

    async def _open(self) -> None:
        """Have a server listen; SpecError if the address cannot be had."""
        config = self._config
        server = grpc.aio.server(options=_options(config), maximum_concurrent_rpcs=config.max_connections)
        server.add_generic_rpc_handlers(self._handlers)
        self._bind(server)
        await server.start()
        self._server = server

    async def _keep(self) -> None:
        """Listen again where grpc gives up by itself: from 1.84 on, a path that is no UTF-8 is enough for that."""
        ending: set[asyncio.Task[None]] = set()
        while True:
            try:
                if self._server is None:
                    await self._open()
                elif not await self._server.wait_for_termination(LOOK):
                    return
            except SpecError as error:
                logger.warning("gRPC cannot be started again yet: %s", error)
                await asyncio.sleep(LOOK)
            except Exception as error:
                logger.warning("gRPC gave up and is started again: %r", error)
                if self._server is not None:
                    task = asyncio.create_task(self._server.stop(self._config.drain_timeout))
                    ending.add(task)
                    task.add_done_callback(ending.discard)
                self._server = None

    def _free(self, port: int) -> int:
        """Return the port to bind; SpecError where it is taken and was asked for.

        gRPC's own complaint about one that is taken says neither why nor what to do.
        """
        listening = partial(bind, self._host, name="grpc_port", backlog=1, prefix=self._prefix)
        try:
            bound = listening(port)
        except SpecError:
            if port != self._usual:
                raise
            logger.warning("port %d is taken: gRPC gets another", port)
            bound = listening(0)
        with bound:
            free: int = bound.getsockname()[1]
        return free

    @property
    def _host(self) -> str:
        return "127.0.0.1" if self._config.host == "localhost" else self._config.host

    def _bind(self, server: grpc.aio.Server) -> None:
        config, host = self._config, self._host
        address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        try:
            if config.tls_cert:
                pair = Path(config.tls_key).read_bytes(), Path(config.tls_cert).read_bytes()
                server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            else:
                server.add_insecure_port(address)
        except RuntimeError as error:
            raise SpecError(f"cannot listen on {address} (--grpc-port, {self._prefix}GRPC_PORT)") from error


class Server(Listening):
    """Serves an app over gRPC.

    Args:
        inference: the app.
        measure: what counts its calls.
        config: address, limits, keys.
    """

    def __init__(self, inference: Inference, measure: Measure, config: Config) -> None:
        self._methods = Methods(inference, measure, config)
        self._health = health.Health(
            SERVICES,
            inference.service.unready,
            calls=config.max_connections,
            seconds=config.body_timeout,
        )
        reflection = reflect.Reflection(
            (*SERVICES, health.NAME), self._methods.check, silence=self._methods.silence
        )
        super().__init__(
            (*self._methods.handlers, self._health.handlers(), reflection.handlers()),
            config,
            usual=Config.DEFAULT_GRPC_PORT,
        )

    def follow(self, inference: Inference) -> None:
        """Answer for another version of the app from the next request on; nobody is cut off."""
        self._methods.follow(inference)

    def drain(self) -> None:
        """Let streams and watchers end."""
        self._methods.drain()
        self._health.end()


def _options(config: Config) -> tuple[tuple[str, int], ...]:
    """Return what gRPC itself bounds.

    A caller has the time that it has for a head over HTTP: to begin, and then to answer the pings that follow a silence
    as long. Its machine does that by itself, so nobody who merely idles is disconnected.
    """
    patience = int(config.header_timeout * 1000)
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", patience),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", patience),
        ("grpc.keepalive_timeout_ms", patience),
        ("grpc.http2.ping_timeout_ms", patience),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", min(config.max_body + HEAD, (1 << 31) - 1)),
        ("grpc.max_send_message_length", -1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", PING),
    )
