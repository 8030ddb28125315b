"""Looks at each function once a second, and has the store want the replicas that the policy decides on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping

from regrain_watchdog.gateway.database import StoreError
from regrain_watchdog.gateway.plane import usage, wishes
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.hosting import Hosting
from regrain_watchdog.gateway.plane.reconcile import Version
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.plane.usage import Use
from regrain_watchdog.gateway.spec import Function
from regrain_watchdog.gateway.store import Store
from regrain_watchdog.policy.scale import Scaler, Scaling, Seen

logger = logging.getLogger(__name__)

PERIOD = 1.0
WINDOW = 10
"""Looks over which a rate of requests is taken."""


class Watched:
    """What is remembered of one version of a function between two looks.

    Args:
        hosting: the function.
        now: CLOCK_MONOTONIC.
    """

    def __init__(self, hosting: Hosting, now: float) -> None:
        deployment = hosting.function.deployment
        self.version = hosting.have.version
        self._scaler = Scaler(Scaling.of(deployment.labels, adapts=wishes.adapts(deployment)))
        self._counted: deque[tuple[float, int]] = deque([(now, hosting.invocations)], maxlen=WINDOW + 1)
        self._use = Use(seconds={}, memory=0)

    def decide(self, hosting: Hosting, use: Use, now: float) -> int:
        """Return the replicas that a function is to have, and note what it uses."""
        elapsed = max(now - self._counted[-1][0], 1e-3)
        hosting.cpu, hosting.memory = use.cores(self._use, elapsed), use.memory
        self._use = use
        self._counted.append((now, hosting.invocations))
        since, before = self._counted[0]
        standing = hosting.standing()
        seen = Seen(
            rate=(hosting.invocations - before) / max(now - since, PERIOD),
            in_flight=hosting.in_flight,
            cpu=hosting.cpu,
            ready=standing.available,
            replicas=hosting.have.replicas,
            idle=now - hosting.asked,
        )
        return self._scaler.decide(seen, now)


class Autoscaler:
    """Scales the functions of a gateway.

    Args:
        functions: all of them.
        store: where what is wanted is kept.
    """

    def __init__(self, functions: Functions, store: Store) -> None:
        self._functions = functions
        self._store = store
        self._watched: dict[Key, Watched] = {}
        self._odd: dict[Key, Version] = {}
        """Versions of functions that something was odd about; it is said once of each."""

    async def keep(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(PERIOD)
            try:
                await self.look()
            except StoreError as error:
                logger.error("a function could not be scaled: %s", error)
            except Exception:  # a fault of ours must not end the front
                logger.exception("functions could not be scaled")

    async def look(self) -> None:
        """Look once."""
        hostings = {one.key: one for one in self._functions.all()}
        pids: dict[Key, list[int]] = {}
        for key, hosting in hostings.items():
            if hosting.instance is not None:
                with self._apart(hosting):
                    pids[key] = hosting.instance.pids()
        used = await asyncio.to_thread(usage.read, pids)
        wanted = self._decided(hostings, used, time.monotonic())
        for seen, replicas in wanted:
            await asyncio.to_thread(self._store.rescale, seen, replicas)
        if wanted:
            self._functions.changed()

    def _decided(
        self, hostings: Mapping[Key, Hosting], used: Mapping[Key, Use], now: float
    ) -> list[tuple[Function, int]]:
        """Return what is to change: functions as they are, and their replicas to be."""
        self._watched = {key: one for key, one in self._watched.items() if key in hostings}
        self._odd = {key: one for key, one in self._odd.items() if key in hostings}
        found: list[tuple[Function, int]] = []
        for key, hosting in hostings.items():
            have = hosting.have
            if have.busy or hosting.has_failed:
                continue
            with self._apart(hosting):
                replicas = self._watch(hosting, now).decide(
                    hosting, used.get(key, Use(seconds={}, memory=0)), now
                )
                if not replicas and hosting.stands_in:
                    continue  # nothing that starts would answer the next request
                if replicas != have.replicas:
                    found.append((hosting.function, replicas))
        return found

    def _watch(self, hosting: Hosting, now: float) -> Watched:
        """Return what is remembered of a function's version. SpecError for labels older than what reads them."""
        watched = self._watched.get(hosting.key)
        if watched is None or watched.version != hosting.have.version:
            watched = self._watched[hosting.key] = Watched(hosting, now)
        return watched

    @contextlib.contextmanager
    def _apart(self, hosting: Hosting) -> Iterator[None]:
        """Have what is odd about one function keep no other from being scaled; it is said once of a version."""
        try:
            yield
        except Exception as error:
            version = hosting.have.version
            if self._odd.get(hosting.key) != version:
                self._odd[hosting.key] = version
                namespace, name = hosting.key
                logger.error("function %s.%s cannot be scaled", name, namespace, exc_info=error)
