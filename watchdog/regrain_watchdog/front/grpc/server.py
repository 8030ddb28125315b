"""A gRPC server on the front's own event loop."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from regrain.errors import SpecError
from regrain.wire import invoke_pb2
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc import health, inference_pb2, invoke, oip
from regrain_watchdog.front.grpc.entry import Entry
from regrain_watchdog.front.grpc.stream import Streams
from regrain_watchdog.front.listen import bind
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference

logger = logging.getLogger(__name__)

HEAD = 64 << 10
"""Bytes that a message may have beyond the largest body: names, shapes, media types."""
SWITCH_INTERVAL = 0.00002
"""Seconds after which a waiting thread asks for the interpreter, while gRPC is served: its poller hands every
event to the loop, and at Python's 5 ms both wait for each other (front CPU per call 400 us against 270)."""
PING = 10_000
"""Milliseconds that must lie between two pings of an idle client."""


class Server:
    """Serves an app over gRPC.

    Args:
        inference: the app.
        measure: what counts its calls.
        config: address, limits, keys.
    """

    def __init__(self, inference: Inference, measure: Measure, config: Config) -> None:
        self.port = 0
        self._config = config
        self._streams = Streams()
        self._health = health.Health((oip.NAME, invoke.NAME), inference.service.unready)
        entry = Entry(measure, config, lambda: config.latency(inference.service.manifest) or 0.0)
        self._oip = oip.OpenInference(inference, entry, self._streams)
        self._handlers = (
            self._oip.handlers(),
            invoke.Invoke(inference.service, entry).handlers(),
            self._health.handlers(),
        )
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """Where clients of this machine reach it, such as "127.0.0.1:9000"."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)  # noqa: S104
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def follow(self, inference: Inference) -> None:
        """Answer for another version of the app from the next request on; nobody is cut off."""
        self._oip.inference = inference

    async def start(self) -> None:
        """Accept calls from here on; SpecError if the address cannot be had."""
        config = self._config
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", min(config.max_body + HEAD, (1 << 31) - 1)),
            ("grpc.max_send_message_length", -1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", PING),
        )
        server = self._server = grpc.aio.server(
            options=options, maximum_concurrent_rpcs=config.max_connections
        )
        server.add_generic_rpc_handlers(self._handlers)
        names = (oip.NAME, invoke.NAME, health.NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server, _described())
        self.port = self._bind(server)
        sys.setswitchinterval(SWITCH_INTERVAL)
        await server.start()

    def drain(self) -> None:
        """Let streams and watchers end."""
        self._streams.drain()
        self._health.end()

    async def stop(self, timeout: float) -> None:
        """Accept nothing more, let what is in flight finish within `timeout` seconds, and end."""
        self.drain()
        if self._server is not None:
            await self._server.stop(timeout)
            self._server = None

    def _bind(self, server: grpc.aio.Server) -> int:
        """Bind the address; any free port if the usual one is taken and nobody asked for it."""
        config = self._config
        host = "127.0.0.1" if config.host == "localhost" else config.host
        port = _free(host, config.grpc_port or 0)
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if config.tls_cert:
                pair = Path(config.tls_key).read_bytes(), Path(config.tls_cert).read_bytes()
                return server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise SpecError(f"cannot listen on {address} (--grpc-port, REGRAIN_GRPC_PORT)") from error


def _free(host: str, port: int) -> int:
    """The port to bind: gRPC's own complaint about one that is taken says neither why nor what to do."""
    try:
        bound = bind(host, port, name="grpc_port", backlog=1)
    except SpecError:
        if port != Config.DEFAULT_GRPC_PORT:
            raise  # somebody asked for this port
        logger.warning("port %d is taken: gRPC gets another", port)
        bound = bind(host, 0, name="grpc_port", backlog=1)
    with bound:
        free: int = bound.getsockname()[1]
    return free


def _described() -> DescriptorPool:
    """What reflection tells: every file of ours in one pool."""
    pool = DescriptorPool()
    files = (
        inference_pb2.POOL.FindFileByName("inference.proto"),
        invoke_pb2.POOL.FindFileByName("invoke.proto"),
        health_pb2.DESCRIPTOR,
        reflection_pb2.DESCRIPTOR,
    )
    for file in files:
        told = FileDescriptorProto()
        file.CopyToProto(told)
        pool.Add(told)
    return pool
