"""The front's process: its ports, its signals, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from collections.abc import Collection, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import BASIC, BEARER, Key
from regrain_watchdog.front.garbage import collect_less, keep_freed
from regrain_watchdog.front.handler import Handler
from regrain_watchdog.front.http1.limits import BACKLOG, Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.front.listen import bind
from regrain_watchdog.front.signals import KILLED, Signals
from regrain_watchdog.front.tracing.asked import open_export
from regrain_watchdog.gateway import journal, sandbox
from regrain_watchdog.gateway.build.folders import shared
from regrain_watchdog.gateway.credentials import Credentials
from regrain_watchdog.gateway.later.later import Later
from regrain_watchdog.gateway.later.later import Limits as LaterLimits
from regrain_watchdog.gateway.later.table import Table
from regrain_watchdog.gateway.plane import deferred
from regrain_watchdog.gateway.plane.autoscale import Autoscaler
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.deferred import Deferred
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.make import Maker
from regrain_watchdog.gateway.plane.metrics import MetricsPage
from regrain_watchdog.gateway.plane.private import Private
from regrain_watchdog.gateway.plane.public import Public
from regrain_watchdog.gateway.plane.route import Key as RouteKey
from regrain_watchdog.gateway.relay import Relay
from regrain_watchdog.gateway.sandbox import FIRST_USER, Cell, Means
from regrain_watchdog.gateway.settings import PREFIX, Settings
from regrain_watchdog.gateway.store import Store

if TYPE_CHECKING:
    from regrain_watchdog.gateway.plane.switch import Calls

logger = logging.getLogger(__name__)

CONNECTIONS = 4096
LIMITS = LaterLimits()
DRAIN = 50.0
"""Seconds that requests have to end after SIGTERM; the keeper kills a front that takes sixty."""
CLOSE = 2.0
"""Seconds after that for what is left."""


class Plane:
    """The front: serves functions on a socket that the keeper has opened.

    Args:
        settings: of the gateway.
        bound: listens already.
    """

    def __init__(self, settings: Settings, bound: socket.socket) -> None:
        self._settings = settings
        self._bound = bound
        self._signals = Signals()

    async def serve(self) -> int:
        """Serve until signalled; return the exit code."""
        self._signals.listen()
        homes = Homes(self._settings.folder / "homes")
        await asyncio.to_thread(homes.clear)
        means = await asyncio.to_thread(_means, self._settings)
        store = Store(self._settings.database)
        table = Table(self._settings.database)
        credentials = Credentials.load(self._settings.folder) if self._settings.auth else None
        key = (
            Key(credentials.password, (BASIC, BEARER)) if credentials is not None else None
        )  # of the apps' pages
        export = open_export(os.environ)
        maker = Maker(Launcher(self._settings, means, homes), key, export)
        functions = Functions(store, maker, self._settings.log)
        counts = Counts(functions.standings)
        functions.removed = counts.forget
        functions.kept = partial(_keep, self._settings, homes)
        public = Public(functions, counts, Relay(self._settings.control_socket, credentials), key)
        rng = random.Random()  # noqa: S311 - spreads tries in time
        later = Later(table, lambda call: deferred.run(call, public.invoke, LIMITS), rng, limits=LIMITS)
        public.deferred = Deferred(functions, later, LIMITS)
        await functions.reconcile()
        ports = self._open(public, Private(functions, later), MetricsPage(counts, functions.measures))
        calls = await _calls(self._settings, functions, counts)
        loops = asyncio.ensure_future(
            _kept(functions.keep(), Autoscaler(functions, store).keep(), later.keep())
        )
        collect_less()
        keep_freed()
        try:
            await self._signals.until_first(_ended(loops))
            if await self._signals.until_second(_drained(ports, calls, functions, later, loops)):
                return 0
            for port in ports:  # callers hear that they were cut off, and no error of the loop's end
                port.cut()
            functions.kill()
            return KILLED
        finally:
            table.close()
            store.close()
            if export is not None:
                await asyncio.to_thread(export.close)

    def _open(self, public: Public, private: Private, page: MetricsPage) -> list[Port]:
        """Accept connections: of clients, of the control plane, of Prometheus."""
        handlers: dict[socket.socket, Handler] = {
            self._bound: public,
            _unix(self._settings.front_socket): private,
        }
        metrics = _metrics(self._settings)
        if metrics is not None:
            handlers[metrics] = page
        limits = Limits(connections=CONNECTIONS)
        ports = [Port(handler, bound, limits, None) for bound, handler in handlers.items()]
        for port in ports:
            port.start()
        return ports


async def _drained(
    ports: list[Port], calls: Calls | None, functions: Functions, later: Later, loops: asyncio.Future[None]
) -> None:
    """Let requests end, then processes."""
    ending = [later.drain(DRAIN), *([calls.stop(DRAIN)] if calls is not None else [])]
    stopped, _ = await asyncio.gather(
        asyncio.gather(*(one.stop(DRAIN) for one in ports)), asyncio.gather(*ending)
    )
    loops.cancel()
    await asyncio.wait([loops])
    for port, whole in zip(ports, stopped, strict=True):
        if not whole:
            logger.warning("requests were cut off, as they had not ended after %g s", DRAIN)
            port.cut()
    await functions.stop(CLOSE)


async def _ended(loops: asyncio.Future[None]) -> None:
    """Wait for what should not end; it goes on where the wait does not."""
    await asyncio.shield(loops)


async def _kept(*loops: Coroutine[None, None, None]) -> None:
    """Run what does not end; raise what has ended one of them."""
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop)


async def _calls(settings: Settings, functions: Functions, counts: Counts) -> Calls | None:
    """Return the port of gRPC, which listens; None where nobody wants one."""
    if settings.grpc_port is None:
        return None
    from regrain_watchdog.gateway.plane.switch import Calls as Found  # noqa: PLC0415  # its library is large

    config = Config(host=settings.host, grpc_port=settings.grpc_port, max_connections=CONNECTIONS)
    calls = Found(functions, counts, config)
    try:
        await calls.start()
    except SpecError as error:
        logger.error("gRPC is not served: %s", error)
        return None
    logger.info("gRPC on %s", calls.address)
    return calls


def _keep(settings: Settings, homes: Homes, keys: Collection[RouteKey]) -> None:
    """Remove what functions that are no more have left, also while there was no front."""
    homes.keep(keys)
    journal.keep(settings.logs, {settings.log(*key) for key in keys})


def _unix(path: Path) -> socket.socket:
    """Return a socket that listens on a path, in the place of one that a front before has left there."""
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        bound.bind(str(path))
    finally:
        os.umask(before)
    bound.listen(BACKLOG)
    bound.setblocking(False)
    return bound


def _metrics(settings: Settings) -> socket.socket | None:
    """Return a socket for the metrics; None where their port cannot be had: functions are served without them too."""
    try:
        return bind(settings.host, settings.metrics_port, name="metrics_port", backlog=BACKLOG, prefix=PREFIX)
    except SpecError as error:
        logger.warning("metrics are not served: %s", error)
        return None


def _means(settings: Settings) -> Means:
    """Ask what functions can be confined with on this machine."""
    images = shared(settings.folder / "images")
    cell = Cell(
        user=FIRST_USER,
        home=str(settings.folder / "homes" / "probe"),
        hidden=settings.state,
        reads=(str(images),),
    )
    means = sandbox.probe(cell)
    if means.lacking:
        logger.warning("functions are confined less than they could be: %s", means.lacking)
    return means
