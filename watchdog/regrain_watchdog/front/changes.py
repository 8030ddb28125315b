"""What operators may change of a living app: its grain, its replicas, the version of its code.

A version is a zygote that has imported the code, and its manifest. The one before is kept, without replicas, so that a
roll-back needs nothing from disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from msgspec import structs

from regrain.errors import GrainError, SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.live import Change, Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.room import check_room, free_memory, memory_of
from regrain_watchdog.front.service import App
from regrain_watchdog.front.supervise import Care
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
        self._endings: set[asyncio.Future[None]] = set()

    async def regrain(self, grain: str, replicas: str = "") -> Change:
        """Put another grain in force; errors as from `Live.change`, GrainError if it is none of this app's."""
        plan = make_plan(self.release.manifest, grain, replicas or self._config.replicas)
        with self._live.turn():
            return await self._live.change(await self._make(self.release, plan))

    async def scale(self, group: str, replicas: int) -> Change:
        """Give a group (by its name or a stage's) another number of replicas, the others as they are."""
        if not 1 <= replicas <= MAX_REPLICAS:
            raise SpecError(f"a group has 1 to {MAX_REPLICAS} replicas, {replicas} were asked for")
        current = self._live.current.route.plan
        names = {name for one in current.groups for name in (one.name, *one.stages)}
        if group not in names:
            raise SpecError(f"there is no group or stage {group!r}; there are {', '.join(sorted(names))}")
        wanted = tuple(
            structs.replace(one, replicas=replicas) if group in (one.name, *one.stages) else one
            for one in current.groups
        )
        return await self.regrain(current.grain, _replicas(Plan(wanted)))

    async def update(self) -> Change:
        """Serve the code as it is on disk now; what does not load leaves the old version in force."""
        with self._live.turn():
            zygote = self._start_zygote()
            try:
                manifest = await zygote.hello(self._config.start_timeout)
                new = Release(zygote, manifest)
                change = await self._live.change(await self._make(new, self._carried(manifest)))
            except BaseException:
                await zygote.stop()
                raise
            self._keep(new)
            return change

    async def roll_back(self) -> Change:
        """Serve the version before this one again."""
        with self._live.turn():
            old = self.previous
            if old is None:
                raise SpecError("there is no earlier version to go back to")
            change = await self._live.change(await self._make(old, self._carried(old.manifest)))
            self.previous, self.release = self.release, old
            return change

    def lost(self, zygote: Zygote) -> bool:
        """Learn that a zygote has died; whether it is the one of the version in force."""
        if self.previous is not None and self.previous.zygote is zygote:
            self.previous = None
        return self.release.zygote is zygote

    async def stop(self) -> None:
        """End the zygotes."""
        for release in (self.release, self.previous):
            if release is not None:
                await release.zygote.stop()
        await asyncio.gather(*self._endings)

    def _keep(self, new: Release) -> None:
        forgotten, self.previous, self.release = self.previous, self.release, new
        if forgotten is not None:
            ending = asyncio.ensure_future(forgotten.zygote.stop())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _carried(self, manifest: Manifest) -> Plan:
        """The plan in force for another version, or one of that version's own where it has other stages."""
        current = self._live.current.route.plan
        try:
            return make_plan(manifest, current.grain, _replicas(current))
        except GrainError:
            grain = manifest.grain
            logger.warning(
                "grain %s is none of the new version's: its own is taken, %s", current.grain, grain
            )
            return make_plan(manifest, grain, self._config.replicas)

    async def _make(self, release: Release, plan: Plan) -> App:
        check_room(memory_of(plan, release.manifest), await asyncio.to_thread(free_memory))
        return App(
            release.manifest,
            plan,
            release.zygote,
            memory=self._config.memory,
            max_queue=self._config.max_queue,
            care=Care(hang_timeout=self._config.hang_timeout, memory=self._config.replica_memory),
            measure=self._measure,
            failed=lambda error: logger.warning("%s", error),
        )


def _replicas(plan: Plan) -> str:
    """A plan's numbers of replicas, as the setting has them."""
    return ",".join(f"{group.name}={group.replicas}" for group in plan.groups)
