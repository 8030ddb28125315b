"""Serve one app, from the first process to the last: start, wait for a signal, drain, stop.

SIGTERM and SIGINT drain: not ready, keep serving for `healthcheck_interval` so that load balancers notice, stop
accepting, finish what was accepted, stop the replicas, exit 0. A second signal ends everything at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from regrain.errors import LoadError, RequestError, SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.request import Request
from regrain_watchdog.front import access
from regrain_watchdog.front.adapting.adaptation import Adaptation
from regrain_watchdog.front.admin import Admin, open_admin, open_metrics
from regrain_watchdog.front.changes import Changes, Release, make_crew
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.content import Inputs
from regrain_watchdog.front.entrance import Entrance
from regrain_watchdog.front.gpus import Gpus, open_gpus
from regrain_watchdog.front.http import Ingress
from regrain_watchdog.front.listen import Listener, Tls
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference
from regrain_watchdog.front.operations import Operations
from regrain_watchdog.front.service import App
from regrain_watchdog.front.signals import KILLED, Signals
from regrain_watchdog.front.zygote import Zygote

if TYPE_CHECKING:
    from regrain_watchdog.front.grpc.server import Server as GrpcServer

logger = logging.getLogger(__name__)

GARBAGE = 20_000
"""Objects made beyond those freed between two collections; Python's own 700 cost a short request a twentieth."""


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
        self._target = target
        self._version = version
        self._listening = listening
        self._changed = changed
        self._started = time.monotonic()
        self._signals = Signals()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._live: Live | None = None
        self._changes: Changes | None = None
        self._door: Entrance | None = None
        self._admin: Admin | None = None
        self._listeners: list[Listener] = []
        self._ports: dict[str, int] = {}
        self._grpc: GrpcServer | None = None
        self._opening: asyncio.Future[None] | None = None
        self._gpus: Gpus | None = None
        self._adaptation: Adaptation | None = None
        self._zygote: Zygote | None = None
        self._numbers = count(1)
        self._rebirth: asyncio.Future[None] | None = None

    async def serve(self) -> int:
        """Serve until signalled; return the exit code. LoadError and SpecError say why it could not start."""
        self._signals.listen()
        self._changed("starting")
        self._zygote = self._make_zygote()
        try:
            manifest = await self._signals.until_first(self._zygote.hello(self._config.start_timeout))
            if manifest is None:
                return 0
            live = await self._open(manifest, self._zygote)
            if await self._signals.until_first(self._start(live.current)) is not None:
                if self._opening is not None:
                    await self._opening
                _collect_less()
                self._changed("ready")
                if self._adaptation is not None:
                    self._adaptation.start()
                await self._signals.until_first(self._fail_later())
            return await self._drain(live)
        except BaseException:
            self._kill()
            raise
        finally:
            await self._close()
            self._changed("stopped")

    async def _open(self, manifest: Manifest, zygote: Zygote) -> Live:
        """Open the ports. Health answers from here on; readiness says what is missing."""
        config = self._config
        plan = make_plan(manifest, config.grain or manifest.grain, config.replicas, config.gpu_shares)
        measure = Measure(latency=config.latency(manifest))
        release = Release(zygote, manifest)
        gpus = self._gpus = await open_gpus(manifest.app, config, plan, manifest)
        crew = make_crew(release, config, config.resident, gpus)
        app = App(plan, crew, max_queue=config.max_queue, measure=measure, failed=self._fail)
        live = self._live = Live(
            app, patience=config.start_timeout, sample=sample_values, swapped=self._put_before
        )
        self._changes = Changes(
            live, release, config, measure, self._make_zygote, died=self._zygote_died, gpus=gpus
        )
        if config.adapt:
            self._adaptation = Adaptation(
                live, self._changes, measure, config, target=self._target, gpus=gpus
            )
        door = self._door = Entrance(Ingress(live, measure, config))
        http = Listener(
            access.before(door, config),
            config.host,
            config.port,
            header_timeout=config.header_timeout,
            connections=config.max_connections,
            tls=Tls(config.tls_cert, config.tls_key) if config.tls_cert else None,
        )
        await http.start()
        self._listeners.append(http)
        metrics = await open_metrics(measure, config)
        self._listeners.append(metrics)
        operations = Operations(self._changes, is_adapted=self._adaptation is not None)
        self._admin, admin = await open_admin(
            manifest, measure, self.status, config, operations, adaptation=self._adaptation
        )
        self._listeners.append(admin)
        self._ports = {"http": http.port, "metrics": metrics.port, "admin": admin.port}
        if config.grpc_port is not None:
            self._opening = asyncio.ensure_future(self._open_grpc(door.ingress.inference, measure))
        self._listening(
            Running(app=manifest.app, http=http.url, metrics=metrics.url, admin=admin.url, status=self.status)
        )
        return live

    def _put_before(self, app: App) -> None:
        """A plan comes into force: where its code is another version, so are its parameters and its answer."""
        door, live = self._door, self._live
        if door is None or live is None or app.manifest == door.ingress.manifest:
            return
        app.measure.latency = self._config.latency(app.manifest)
        door.enter(Ingress(live, app.measure, self._config))
        if self._grpc is not None:
            self._grpc.follow(door.ingress.inference)
        if self._admin is not None:
            self._admin.manifest = app.manifest
        if self._adaptation is not None:
            self._adaptation.follow()

    async def _open_grpc(self, inference: Inference, measure: Measure) -> None:
        """Open the port of gRPC, while the replicas start: its library takes a while to import."""
        try:
            kind = await asyncio.to_thread(_grpc_server)
            self._grpc = kind(inference, measure, self._config)
            await self._grpc.start()
            self._ports["grpc"] = self._grpc.port
        except SpecError as error:
            self._fail(error)

    async def _start(self, app: App) -> bool:
        """Start the replicas and warm them up; whatever goes wrong is raised."""
        starting = asyncio.ensure_future(app.start(sample_values(app.manifest)))
        done, _ = await asyncio.wait(
            {starting, self._failure}, timeout=self._config.start_timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            starting.cancel()
            raise LoadError(f"not ready after {self._config.start_timeout:g} s: {app.unready()}")
        if starting not in done:
            starting.cancel()
        for task in done:
            task.result()
        return True

    async def _drain(self, live: Live) -> int:
        live.drain()
        self._changed("draining")
        if self._adaptation is not None:
            await self._adaptation.stop()
        if self._admin is not None:
            self._admin.stop()
        if self._door is not None:
            self._door.drain()
        if await self._signals.until_second(self._finish(live)):
            return 0
        self._kill()
        return KILLED

    async def _finish(self, live: Live) -> None:
        await asyncio.sleep(self._config.healthcheck_interval)
        timeout = self._config.drain_timeout
        whole, _ = await asyncio.gather(self._listeners[0].stop(timeout), self._stop_grpc(timeout))
        if not whole:
            logger.warning("%d call(s) were cut off after %g s", live.current.measure.in_flight, timeout)
        await live.stop()

    async def _close(self) -> None:
        """Let go of whatever is still open."""
        if self._adaptation is not None:
            await self._adaptation.stop()
        if self._opening is not None:
            self._opening.cancel()
        await self._stop_grpc(0.0)
        for listener in self._listeners:
            if not await listener.stop(1.0):
                listener.cut()
        if self._changes is not None:
            await self._changes.stop()
        elif self._zygote is not None:
            await self._zygote.stop()
        if self._gpus is not None:
            self._gpus.stop()

    async def _stop_grpc(self, timeout: float) -> None:
        if self._grpc is not None:
            await self._grpc.stop(timeout)

    def _kill(self) -> None:
        if self._live is not None:
            self._live.kill()
        elif self._zygote is not None:
            self._zygote.kill()

    async def _fail_later(self) -> None:
        await self._failure

    def _fail(self, error: Exception) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)

    def _zygote_died(self, zygote: Zygote, reason: str) -> None:
        """Replicas outlive their zygote; a new one is started so that they can be replaced."""
        if self._live is None or self._changes is None or self._signals.count:
            self._fail(LoadError(reason))
            return
        if not self._changes.lost(zygote):
            logger.warning("%s; it was of no version in force", reason)
            return
        logger.error("%s; starting it again", reason)
        self._rebirth = asyncio.ensure_future(self._start_zygote(self._live, self._changes))

    async def _start_zygote(self, live: Live, changes: Changes) -> None:
        zygote = self._zygote = self._make_zygote()
        try:
            manifest = await zygote.hello(self._config.start_timeout)
            if manifest.digest != live.manifest.digest:
                await zygote.stop()
                raise LoadError(f"{self._target} has changed since it was loaded")
        except LoadError as error:
            live.trouble = f"replicas that end are not replaced until `regrain update`: {error}"
            logger.error("%s", live.trouble)
            return
        changes.release = Release(zygote, live.manifest)
        live.current.crew.use_zygote(zygote)

    def _make_zygote(self) -> Zygote:
        logs = {"REGRAIN_LOG_LEVEL": self._config.log_level, "REGRAIN_LOG_FORMAT": self._config.log_format}
        zygote = Zygote(
            self._target,
            died=lambda reason: self._zygote_died(zygote, reason),
            exited=self._exited,
            environment=logs,
            numbers=self._numbers,
        )
        return zygote

    def _exited(self, number: int, status: int) -> None:
        if self._live is not None:
            self._live.exited(number, status)

    def status(self) -> dict[str, object]:
        """What GET /status tells: the app's status, its load, and what the process knows of itself."""
        live = self._live
        return {
            **(live.status() if live is not None else {}),
            "version": self._version,
            "pid": os.getpid(),
            "uptime": time.monotonic() - self._started,
            "ports": self._ports,
            **({"gpus": self._gpus.status()} if self._gpus is not None else {}),
            **({"adapting": self._adaptation.status()} if self._adaptation is not None else {}),
        }


def _collect_less() -> None:
    """Leave what the start made out of further collections, and collect less often.

    Nearly all of what a request makes is freed by its reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE)


def _grpc_server() -> type[GrpcServer]:
    from regrain_watchdog.front.grpc.server import Server as Found  # noqa: PLC0415  # off the way to ready

    return Found


def sample_values(manifest: Manifest) -> dict[str, object] | None:
    """Return the parameters of an app's sample; None if it has none, SpecError if it is no request for the app."""
    sample = manifest.sample
    if sample is None:
        return None
    raw = next((parameter.name for parameter in manifest.parameters if parameter.kind == "request"), "")
    if raw:
        headers = {"content-type": sample.content_type}
        return {raw: Request(body=sample.body, headers=headers, method="POST", query={}, path="/")}
    try:
        return Inputs(manifest.parameters).read(sample.body, sample.content_type, "")
    except RequestError as error:
        raise SpecError(f"the app's sample is no request for it: {error.detail}") from error
