"""Serve an upstream, from its first process to the last: start, wait for a signal, drain, stop.

SIGTERM and SIGINT drain as for an app: not ready, keep serving for `healthcheck_interval`, stop accepting, finish
what was accepted. Only then is the upstream's own process told to end, so no request is lost to its death.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from regrain_watchdog.front.admin import open_admin, open_metrics
from regrain_watchdog.front.listen import Listener
from regrain_watchdog.front.measure import Gauges, Measure
from regrain_watchdog.front.server import Running
from regrain_watchdog.front.signals import KILLED, Signals
from regrain_watchdog.front.standing import objective
from regrain_watchdog.front.tracing.asked import open_export
from regrain_watchdog.front.upstream.edge import Edge
from regrain_watchdog.front.upstream.passage import GROUP
from regrain_watchdog.front.upstream.proxy import Proxy
from regrain_watchdog.front.upstream.target import Target

logger = logging.getLogger(__name__)

LOCK_MODE = 0o660


class UpstreamServer:
    """One upstream on the front's ports.

    Args:
        target: what to serve.
        environ: the environment of its process.
        version: ours, to be told.
        listening: told once, when the ports are open (the upstream may not be ready yet).
        changed: told of each state that it enters ("starting", "ready", "draining", "stopped").
    """

    def __init__(
        self,
        target: Target,
        *,
        environ: Mapping[str, str],
        version: str,
        listening: Callable[[Running], None],
        changed: Callable[[str], None],
    ) -> None:
        self._target = target
        self._config = target.config
        self._version = version
        self._listening = listening
        self._changed = changed
        self._started = time.monotonic()
        self._signals = Signals()
        self._manifest = target.manifest
        self._export = open_export(os.environ)
        traces = self._export.traces(self._manifest.app) if self._export is not None else None
        latency = self._config.latency(self._manifest)
        self._measure = Measure(latency=latency, gauges=self._gauges, traces=traces)
        self._upstream = target.make(environ)
        self._proxy = Proxy(self._upstream, self._measure, self._config)
        self._edge = Edge(self._proxy, self._config)
        self._listeners: list[Listener] = []
        self._ports: dict[str, int] = {}
        self._ready = False

    async def serve(self) -> int:
        """Serve until signalled; return the exit code. LoadError and SpecError say why it could not start."""
        self._signals.listen()
        self._changed("starting")
        try:
            with _lock(self._config.lock_file) as lock:
                await self._open()
                if await self._signals.until_first(self._start()):
                    self._changed("ready")
                    await self._signals.until_first(asyncio.Event().wait())
                return await self._drain(lock)
        except BaseException:
            await self._upstream.kill()
            raise
        finally:
            await self._close()
            self._changed("stopped")

    async def _open(self) -> None:
        """Open the ports. Health answers from here on; readiness says what is missing."""
        await self._edge.start()
        metrics = await open_metrics(self._measure, self._config)
        self._listeners.append(metrics)
        self._admin, admin = await open_admin(self._manifest, self._measure, self.status, self._config)
        self._listeners.append(admin)
        self._ports = {"http": self._edge.port, "metrics": metrics.port, "admin": admin.port}
        self._listening(
            Running(
                app=self._manifest.app,
                http=self._edge.url,
                metrics=metrics.url,
                admin=admin.url,
                status=self.status,
            )
        )

    async def _start(self) -> bool:
        await self._upstream.start(self._config.start_timeout)
        self._ready = True
        return True

    async def _drain(self, lock: contextlib.ExitStack) -> int:
        self._proxy.draining = True
        lock.close()
        self._changed("draining")
        self._admin.stop()
        if await self._signals.until_second(self._finish()):
            return 0
        await self._upstream.kill()
        return KILLED

    async def _finish(self) -> None:
        await asyncio.sleep(self._config.healthcheck_interval)
        if not await self._edge.stop(self._config.drain_timeout):
            left = self._measure.in_flight
            logger.warning("%d call(s) were cut off after %g s", left, self._config.drain_timeout)
        await self._upstream.stop()

    async def _close(self) -> None:
        """Let go of whatever is still open."""
        await self._edge.stop(1.0)  # who is answered by then hears of it
        for listener in self._listeners:
            await listener.stop(1.0)
        if self._export is not None:
            await asyncio.to_thread(self._export.close)

    def _gauges(self) -> Gauges:
        return Gauges(queued={GROUP: self._proxy.gate.waiting}, replicas={(GROUP, self._process_state()): 1})

    def _process_state(self) -> str:
        down = self._upstream.down
        return "ready" if not down else "starting"

    def state(self) -> str:
        """Return "starting", "ready" or "draining"."""
        if self._proxy.draining:
            return "draining"
        return "ready" if self._ready and not self._upstream.down else "starting"

    def status(self) -> dict[str, object]:
        """What GET /status tells: an app of one group whose replica is the upstream's process."""
        down = self._upstream.down
        return {
            "app": self._manifest.app,
            "state": self.state(),
            "grain": GROUP,
            "groups": [
                {
                    "name": GROUP,
                    "stages": [GROUP],
                    "replicas": [self._replica()],
                    "queue": self._proxy.gate.waiting,
                    "max_size": 1,
                }
            ],
            "load": msgspec.to_builtins(self._measure.summary(time.monotonic())),
            "slo": objective(self._manifest, self._measure.latency),
            "warnings": [down] if down else [],
            "version": self._version,
            "pid": os.getpid(),
            "uptime": time.monotonic() - self._started,
            "ports": self._ports,
            "scheme": "https" if self._config.tls_cert else "http",
        }

    def _replica(self) -> dict[str, object]:
        process = self._upstream.process
        return {
            "pid": process.pid if process else 0,
            "state": self._process_state(),
            "resident": [GROUP],
            "guest": False,
        }


@contextlib.contextmanager
def _lock(path: str) -> Iterator[contextlib.ExitStack]:
    """Keep a file there until the stack that is yielded is closed; no file for an empty path."""
    with contextlib.ExitStack() as stack:
        if path:
            Path(path).touch(mode=LOCK_MODE)
            stack.callback(Path(path).unlink, missing_ok=True)
        yield stack
