"""Serve one app, from the first process to the last: start, wait for a signal, drain, stop.

SIGTERM and SIGINT drain: not ready, keep serving for `healthcheck_interval` so that load balancers notice, stop
accepting, finish what was accepted, stop the replicas, exit 0. A second signal ends everything at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regrain.errors import SpecError
from regrain.manifest import Manifest
from regrain_watchdog.front import access
from regrain_watchdog.front.admin import Admin, open_admin, open_metrics
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.garbage import collect_less, keep_freed
from regrain_watchdog.front.hosted import Hosted
from regrain_watchdog.front.listen import Listener, Tls
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference
from regrain_watchdog.front.operations import Operations
from regrain_watchdog.front.signals import KILLED, Signals
from regrain_watchdog.front.tracing.asked import open_export

if TYPE_CHECKING:
    from regrain_watchdog.front.grpc.server import Server as GrpcServer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """An app that listens: where, and its state by `status()`."""

    app: str
    http: str
    metrics: str
    admin: str
    status: Callable[[], dict[str, object]]


class Server:
    """One app on its listeners.

    listening: told once, when the ports are open (the app may not be ready yet).
    changed: told of each state that it enters ("starting", "ready", "draining", "stopped").
    """

    def __init__(
        self,
        config: Config,
        target: str,
        *,
        version: str,
        listening: Callable[[Running], None],
        changed: Callable[[str], None],
    ) -> None:
        self._config = config
        self._version = version
        self._listening = listening
        self._changed = changed
        self._started = time.monotonic()
        self._signals = Signals()
        self._export = open_export(os.environ)
        self._hosted = Hosted(config, target, entered=self._follow, export=self._export)
        self._admin: Admin | None = None
        self._listeners: list[Listener] = []
        self._ports: dict[str, int] = {}
        self._grpc: GrpcServer | None = None
        self._opening: asyncio.Future[None] | None = None

    async def serve(self) -> int:
        """Serve until signalled; return the exit code. LoadError and SpecError say why it could not start."""
        hosted = self._hosted
        self._signals.listen()
        self._changed("starting")
        try:
            manifest = await self._signals.until_first(hosted.hello())
            if manifest is None:
                return 0
            await self._open(manifest)
            if await self._signals.until_first(hosted.start()) is not None:
                if self._opening is not None:
                    await self._opening
                collect_less()
                keep_freed()
                self._changed("ready")
                if hosted.adaptation is not None:
                    hosted.adaptation.start()
                await self._signals.until_first(self._fail_later())
            return await self._drain()
        except BaseException:
            hosted.kill()
            raise
        finally:
            await self._close()
            self._changed("stopped")

    async def _open(self, manifest: Manifest) -> None:
        """Open the ports. Health answers from here on; readiness says what is missing."""
        config, hosted = self._config, self._hosted
        await hosted.load(manifest)
        handler = access.before(hosted.door, config, records=self._export is not None)
        http = Listener(
            handler if hosted.remote is None else hosted.remote.before(handler),
            config.host,
            config.port,
            header_timeout=config.header_timeout,
            connections=config.max_connections,
            tls=Tls(config.tls_cert, config.tls_key) if config.tls_cert else None,
        )
        await http.start()
        self._listeners.append(http)
        metrics = await open_metrics(hosted.measure, config)
        self._listeners.append(metrics)
        operations = Operations(hosted.changes, is_adapted=hosted.adaptation is not None)
        self._admin, admin = await open_admin(
            manifest, hosted.measure, self.status, config, operations, why=hosted.why
        )
        self._listeners.append(admin)
        self._ports = {"http": http.port, "metrics": metrics.port, "admin": admin.port}
        if config.grpc_port is not None:
            inference = hosted.door.ingress.inference
            self._opening = asyncio.ensure_future(self._open_grpc(inference, hosted.measure))
        self._listening(
            Running(app=manifest.app, http=http.url, metrics=metrics.url, admin=admin.url, status=self.status)
        )

    def _follow(self) -> None:
        """Another version of the code is in force."""
        if self._grpc is not None:
            self._grpc.follow(self._hosted.door.ingress.inference)
        if self._admin is not None:
            self._admin.manifest = self._hosted.live.manifest

    async def _open_grpc(self, inference: Inference, measure: Measure) -> None:
        """Open the port of gRPC, while the replicas start: its library takes a while to import."""
        try:
            kind = await asyncio.to_thread(_grpc_server)
            self._grpc = kind(inference, measure, self._config)
            await self._grpc.start()
            self._ports["grpc"] = self._grpc.port
        except SpecError as error:
            self._hosted.fail(error)

    async def _drain(self) -> int:
        self._changed("draining")
        await self._hosted.drain()
        if self._admin is not None:
            self._admin.stop()
        if await self._signals.until_second(self._finish()):
            return 0
        self._hosted.kill()
        return KILLED

    async def _finish(self) -> None:
        await asyncio.sleep(self._config.healthcheck_interval)
        timeout = self._config.drain_timeout
        whole, _ = await asyncio.gather(self._listeners[0].stop(timeout), self._stop_grpc(timeout))
        if not whole:
            logger.warning("%d call(s) were cut off after %g s", self._hosted.measure.in_flight, timeout)
        await self._hosted.live.stop()

    async def _close(self) -> None:
        """Let go of whatever is still open."""
        if self._opening is not None:
            self._opening.cancel()
        await self._stop_grpc(0.0)
        for listener in self._listeners:
            if not await listener.stop(1.0):
                listener.cut()
        await self._hosted.close()
        if self._export is not None:
            await asyncio.to_thread(self._export.close)

    async def _stop_grpc(self, timeout: float) -> None:
        if self._grpc is not None:
            await self._grpc.stop(timeout)

    async def _fail_later(self) -> None:
        await self._hosted.failure

    def status(self) -> dict[str, object]:
        """What GET /status tells: the app's status, its load, and what the process knows of itself."""
        return {
            **self._hosted.status(),
            "version": self._version,
            "pid": os.getpid(),
            "uptime": time.monotonic() - self._started,
            "ports": self._ports,
            "scheme": "https" if self._config.tls_cert else "http",
        }


def _grpc_server() -> type[GrpcServer]:
    from regrain_watchdog.front.grpc.server import Server as Found  # noqa: PLC0415  # off the way to ready

    return Found
