"""All functions: what runs is made to be what the store says, at the start, when it has changed, and now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from prometheus_client.registry import Collector

from regrain_watchdog.gateway.database import StoreError
from regrain_watchdog.gateway.journal import Journal
from regrain_watchdog.gateway.plane.hosting import Hosting, Make, version
from regrain_watchdog.gateway.plane.output import Log
from regrain_watchdog.gateway.plane.reconcile import (
    Add,
    Instruction,
    Remove,
    Scale,
    Update,
    Want,
    instructions,
)
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.plane.starts import Starts
from regrain_watchdog.gateway.spec import Function, Standing
from regrain_watchdog.gateway.store import Store
from regrain_watchdog.policy.scale import Scaling

logger = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds after which the store is looked at where nobody has said that it has changed."""
TURN = 20.0
"""Seconds for which a function that starts is counted among those that may start at once."""


class Functions:
    """The functions of a gateway.

    Args:
        store: what is wanted.
        make: makes an instance of a function.
        log: where a function's log is, by namespace and name.

    Attributes:
        removed: told of a function that is no more.
        kept: told of all that are there, or have still to end, when that has changed; in a thread.
    """

    def __init__(self, store: Store, make: Make, log: Callable[[str, str], Path]) -> None:
        self._store = store
        self._make = make
        self._log = log
        self._hostings: dict[Key, Hosting] = {}
        self.removed: Callable[[Key], None] = lambda _: None
        self.kept: Callable[[set[Key]], None] = lambda _: None
        self._kept: set[Key] | None = None
        self._removed: set[Hosting] = set()
        self._changed = asyncio.Event()
        self._looking = asyncio.Lock()
        self._starts = Starts(max(2, os.cpu_count() or 2), TURN)
        self._wanted: dict[Key, Function] = {}

    def find(self, key: Key) -> Hosting | None:
        """Return a function; None if there is none."""
        return self._hostings.get(key)

    def all(self) -> list[Hosting]:
        """Return all functions."""
        return list(self._hostings.values())

    def standings(self) -> list[Standing]:
        """Return how all functions do."""
        return [hosting.standing() for hosting in self._hostings.values()]

    def measures(self) -> list[tuple[Key, Collector]]:
        """Return what the functions that serve tell of themselves in metrics."""
        served = [(key, hosting.instance) for key, hosting in self._hostings.items()]
        return [(key, one.measure) for key, one in served if one is not None and one.measure is not None]

    def changed(self) -> None:
        """Have the store looked at soon."""
        self._changed.set()

    async def keep(self) -> None:
        """Make what runs be what is wanted, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._changed.wait()
            self._changed.clear()
            await self.reconcile()

    async def reconcile(self) -> None:
        """Look at the store, and begin what is to be done; afterwards each function is known that was wanted before."""
        async with self._looking:
            try:
                found = await asyncio.to_thread(self._store.functions)
            except StoreError as error:
                logger.error("what is wanted cannot be read: %s", error)
                return
            except Exception:  # what is odd about one function must not end the front
                logger.exception("what is wanted cannot be read")
                return
            self._follow(found)
            there = {one.key for one in (*self._hostings.values(), *self._removed)}
            if there != self._kept:
                await asyncio.to_thread(self.kept, there)
                self._kept = there

    def _follow(self, found: list[Function]) -> None:
        self._removed = {one for one in self._removed if one.is_retiring}
        self._wanted = {(one.deployment.namespace, one.deployment.service): one for one in found}
        wanted = {key: Want(version=version(one), replicas=one.replicas) for key, one in self._wanted.items()}
        there = {key: hosting.have for key, hosting in self._hostings.items()}
        for instruction in instructions(wanted, there):
            try:
                self._begin(instruction)
            except Exception:  # likewise
                logger.exception("%s could not be followed", ".".join(instruction.key[::-1]))

    async def stop(self, timeout: float) -> None:
        """End all functions; requests have so many seconds to end."""
        await asyncio.gather(*(one.stop(timeout) for one in (*self._hostings.values(), *self._removed)))

    def kill(self) -> None:
        """End all processes at once."""
        for hosting in (*self._hostings.values(), *self._removed):
            hosting.kill()

    def _begin(self, instruction: Instruction) -> None:
        match instruction:
            case Add(key):
                function = self._wanted[key]
                self._hostings[key] = hosting = self._hosting(function)
                hosting.update(function)
            case Update(key):
                self._hostings[key].update(self._wanted[key])
            case Scale(key, replicas):
                self._hostings[key].scale(replicas)
            case Remove(key):
                hosting = self._hostings.pop(key)
                self._removed.add(hosting)
                self.removed(key)
                hosting.remove()

    def _hosting(self, function: Function) -> Hosting:
        key = namespace, name = function.deployment.namespace, function.deployment.service
        ending = next((one.ending for one in self._removed if one.key == key and one.is_retiring), None)
        return Hosting(
            function,
            self._make,
            Log(key, Journal(self._log(namespace, name))),
            again=self.changed,
            awaken=self._awaken,
            starts=self._starts,
            ending=ending,
        )

    def _awaken(self, hosting: Hosting) -> None:
        """Start a function that is at zero, as a request has come; the store follows, unless it has changed by then.

        One that did not start is tried again with the replicas that are wanted.
        """
        seen = hosting.function
        replicas = seen.replicas or Scaling.of(seen.deployment.labels).least

        async def kept() -> None:
            await asyncio.to_thread(self._store.rescale, seen, replicas)

        hosting.scale(replicas, kept)
