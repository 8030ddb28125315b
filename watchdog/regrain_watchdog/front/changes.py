"""What operators may change of a living app: its grain, its replicas, the version of its code.

A version is a zygote that has imported the code, and its manifest. The one before is kept, without replicas, so that a
roll-back needs nothing from disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from regrain.errors import GrainError, SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.live import Change, Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.room import check_room, free_memory, memory_of
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

logger = logging.getLogger(__name__)

MAX_REPLICAS = 256
"""Replicas of one group at most."""


@dataclass(frozen=True, slots=True)
class Release:
    """A version of the app's code: the process that has imported it, and the app as it describes it."""

    zygote: Zygote
    manifest: Manifest


class Changes:
    """Makes the next plan or version and has `live` carry it into force.

    start_zygote: starts a zygote of the code as it is on disk now.
    """

    def __init__(
        self,
        live: Live,
        release: Release,
        config: Config,
        measure: Measure,
        start_zygote: Callable[[], Zygote],
    ) -> None:
        self._live = live
        self._config = config
        self._measure = measure
        self._start_zygote = start_zygote
        self.release = release
        self.previous: Release | None = None
        self._ending: asyncio.Future[None] | None = None

    async def regrain(self, grain: str, replicas: str = "") -> Change:
        """Put another grain in force; errors as from `Live.change`, GrainError if it is none of this app's."""
        plan = self._plan(self.release.manifest, grain, replicas)
        return await self._live.change(lambda: self._make(self.release, plan))

    async def scale(self, group: str, replicas: int) -> Change:
        """Give a group (by its name or a stage's) another number of replicas, the others as they are."""
        if not 1 <= replicas <= MAX_REPLICAS:
            raise SpecError(f"a group has 1 to {MAX_REPLICAS} replicas, {replicas} were asked for")
        current = self._live.current.route.plan
        names = {name for one in current.groups for name in (one.name, *one.stages)}
        if group not in names:
            raise SpecError(f"there is no group or stage {group!r}; there are {', '.join(sorted(names))}")
        wanted = {
            one.name: replicas if group in (one.name, *one.stages) else one.replicas for one in current.groups
        }
        text = ",".join(f"{name}={count}" for name, count in wanted.items())
        return await self.regrain(current.grain, text)

    async def update(self) -> Change:
        """Serve the code as it is on disk now; what does not load leaves the old version in force."""
        zygote = self._start_zygote()
        try:
            manifest = await zygote.hello(self._config.start_timeout)
            new = Release(zygote, manifest)
            plan = self._carried(manifest)
            change = await self._live.change(lambda: self._make(new, plan))
        except BaseException:
            await zygote.stop()
            raise
        self._keep(new)
        return change

    async def roll_back(self) -> Change:
        """Serve the version before this one again."""
        old = self.previous
        if old is None:
            raise SpecError("there is no earlier version to go back to")
        change = await self._live.change(lambda: self._make(old, self._carried(old.manifest)))
        self.previous, self.release = self.release, old
        return change

    async def stop(self) -> None:
        """End the zygotes."""
        for release in (self.release, self.previous):
            if release is not None:
                await release.zygote.stop()

    def _keep(self, new: Release) -> None:
        forgotten, self.previous, self.release = self.previous, self.release, new
        if forgotten is not None:
            self._ending = asyncio.ensure_future(forgotten.zygote.stop())

    def _carried(self, manifest: Manifest) -> Plan:
        """The plan in force for another version, or that version's own where the grain is none of its."""
        current = self._live.current.route.plan
        try:
            return self._plan(manifest, current.grain, "")
        except GrainError:
            logger.warning("the new version has other stages: its own grain %s is taken", manifest.grain)
            return self._plan(manifest, manifest.grain, "")

    def _plan(self, manifest: Manifest, grain: str, replicas: str) -> Plan:
        return make_plan(manifest, grain, replicas or self._config.replicas)

    async def _make(self, release: Release, plan: Plan) -> App:
        check_room(memory_of(plan, release.manifest), await asyncio.to_thread(free_memory))
        return App(
            release.manifest,
            plan,
            release.zygote,
            memory=self._config.memory,
            max_queue=self._config.max_queue,
            measure=self._measure,
            failed=lambda error: logger.warning("%s", error),
        )
