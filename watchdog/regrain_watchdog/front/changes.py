"""What operators may change of a living app: its grain, its replicas, the version of its code.

A version is a zygote that has imported the code, and its manifest. The one before is kept, without replicas, so that a
roll-back needs nothing from disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from msgspec import structs

from regrain.errors import GrainError, RegrainError, RequestError, SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest, StageSpec
from regrain.plan import Group, Plan
from regrain_watchdog.front.adapting.seats import seats
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.keeping import keep, loads, needed
from regrain_watchdog.front.live import CONTROLLER, OPERATOR, PODS, Change, Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.remote.remote import Homes, Remote
from regrain_watchdog.front.room import free_memory, memory_of, memory_of_replica, no_room
from regrain_watchdog.front.service import App
from regrain_watchdog.front.supervise import Care
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.policy import resident
from regrain_watchdog.policy.staged import Leg, path

logger = logging.getLogger(__name__)

MAX_REPLICAS = 256
"""Replicas of one group at most."""
ASSIGNED = "a controller assigns this pod its groups, so none is held here: hold a plan there, by --plan FILE"


@dataclass(frozen=True, slots=True)
class Release:
    """A version of the app's code: the process that has imported it, and the app as it describes it."""

    zygote: Zygote
    manifest: Manifest


class Changes:
    """Makes the next plan or version and has `live` carry it into force.

    start_zygote: starts a zygote of the code as it is on disk now.
    died: told of a version in force whose zygote has died before that, and why.
    gpus: shares out the GPUs; None where nobody does.
    remote: knows the groups that other pods run; None where none do.
    """

    def __init__(
        self,
        live: Live,
        release: Release,
        config: Config,
        measure: Measure,
        start_zygote: Callable[[], Zygote],
        *,
        died: Callable[[Zygote, str], None] = lambda *_: None,
        gpus: Gpus | None = None,
        remote: Remote | None = None,
    ) -> None:
        self._live = live
        self._remote = remote
        self._config = config
        self._measure = measure
        self._start_zygote = start_zygote
        self._died = died
        self._gpus = gpus
        self.release = release
        self.previous: Release | None = None
        self._endings: set[asyncio.Future[None]] = set()

    async def regrain(
        self, grain: str, replicas: str = "", *, by: str = OPERATOR, hold: bool | None = None
    ) -> Change:
        """Put another grain in force; errors as from `Live.change`, GrainError if it is none of this app's.

        `hold`: whether only operators may change it from then on, which a pod that a controller assigns its groups
        answers with 409; None leaves that as it is.
        """
        plan = self._plan(self.release.manifest, grain, replicas or self._config.replicas)
        async with self._live.turn(by):
            if hold and self.is_assigned:
                raise RequestError(HTTPStatus.CONFLICT, ASSIGNED)
            change = await self._carry(self.release, plan)
            self._live.held = self._live.held if hold is None else hold
            return change

    async def assign(self, grain: str, replicas: str, homes: Homes, shapes: Sequence[Group] = ()) -> Change:
        """Put a grain in force of which other pods have some stages; errors as `regrain`.

        The plan before it serves other pods on until it is told that none of them needs it. No operator holds it.
        `shapes`: groups whose batches and shares are to be as theirs; others have their usual ones.
        """
        if self._remote is None:
            raise RequestError(HTTPStatus.CONFLICT, "this app shares no secret with other pods")
        async with self._live.turn(PODS):
            old = self._live.current
            old.linger(on=True)
            try:
                manifest = self.release.manifest
                plan = shaped(make_plan(manifest, grain, replicas, self._config.gpu_shares), shapes)
                plan = self._checked(self._remote.placed(plan, manifest, homes))
                change = await self._carry(self.release, plan, homes)
            except BaseException:
                old.linger(on=False)
                raise
            self._live.held = False  # pods hold no plan against each other
            return change

    async def adopt(self, plan: Plan, placement: Mapping[str, Sequence[int]]) -> Change:
        """Put a plan of the controller's in force.

        Replicas that it lacks go to GPUs beside those that stay, or if they do not fit so to these by group, as far as
        there is room.

        Raises:
            RequestError: as `Live.change`, or (409) an operator holds the plan.
            SpecError: the GPUs could not hold it.
        """
        if self._live.held:
            raise RequestError(HTTPStatus.CONFLICT, "an operator holds the plan")
        async with self._live.turn(CONTROLLER):
            if self._gpus is not None:
                self._gpus.check(plan)
                cast = self._live.current.crew.cast(plan.groups)
                found = seats(plan, cast, self._gpus.without_ours(), self._gpus.device)
                self._gpus.prefer(placement if found is None else found)
            return await self._carry(self.release, plan)

    async def scale(self, group: str, replicas: int) -> Change:
        """Give a group (by its name or a stage's) another number of replicas; all else of the plan stays as it is."""
        if not 1 <= replicas <= MAX_REPLICAS:
            raise SpecError(f"a group has 1 to {MAX_REPLICAS} replicas, {replicas} were asked for")
        async with self._live.turn():
            groups = self._live.current.route.plan.groups
            names = {name for one in groups for name in (one.name, *one.stages)}
            if group not in names:
                raise SpecError(f"there is no group or stage {group!r}; there are {', '.join(sorted(names))}")
            wanted = tuple(
                structs.replace(one, replicas=replicas) if group in (one.name, *one.stages) else one
                for one in groups
            )
            return await self._carry(self.release, self._checked(Plan(wanted)))

    async def keep(self, setting: str) -> int:
        """Have replicas keep other stages loaded; return the bytes given back. Errors of `keep`, `Live.turn`.

        RequestError (409) also where main memory or the replicas' GPUs have no room for them.
        """
        async with self._live.turn():
            crew = self._live.current.crew
            more = needed(crew, setting)
            free = await asyncio.to_thread(free_memory) if more else 0
            if more > free:
                raise no_room(more, free)
            if self._gpus is not None:
                self._gpus.check_loads(loads(crew, setting))
            freed = await keep(crew, setting, self._config.start_timeout)
            if self._gpus is not None:
                self._gpus.keeps = setting
            return freed

    def free(self) -> None:
        """Let a controller change the grain again."""
        self._live.held = False

    @property
    def is_assigned(self) -> bool:
        """Whether a controller has told this pod which groups it runs."""
        return self._remote is not None and self._remote.epoch > 0

    async def update(self) -> Change:
        """Serve the code as it is on disk now; what does not load leaves the old version in force."""
        async with self._live.turn():
            zygote = self._start_zygote()
            new = None
            try:
                manifest = await zygote.hello(self._config.start_timeout)
                new = Release(zygote, manifest)
                with self._followed(manifest):
                    return await self._carry(new, self._carried(manifest))
            finally:
                if (
                    new is not None and self._live.manifest is new.manifest
                ):  # maybe on the way to its last leg
                    self._enter(new)
                else:
                    await zygote.stop()

    async def roll_back(self) -> Change:
        """Serve the version before this one again."""
        async with self._live.turn():
            old = self.previous
            if old is None:
                raise SpecError("there is no earlier version to go back to")
            try:
                with self._followed(old.manifest):
                    return await self._carry(old, self._carried(old.manifest))
            finally:
                if self._live.manifest is old.manifest:
                    self._enter(old)

    @contextlib.contextmanager
    def _followed(self, manifest: Manifest) -> Iterator[None]:
        """Have GPUs count what a version declares while it is put in force, then what the one in force does."""
        gpus = self._gpus
        if gpus is None:
            yield
            return
        gpus.follow(manifest)
        try:
            yield
        finally:
            gpus.follow(self._live.manifest)

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

    def _enter(self, new: Release) -> None:
        """A version is in force: keep the one before it alone, and that only while it can start replicas."""
        forgotten, old, self.release = self.previous, self.release, new
        self.previous = None if old.zygote.died_of else old
        if forgotten is not None and forgotten is not new:
            ending = asyncio.ensure_future(forgotten.zygote.stop())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
        if new.zygote.died_of:  # on the way there, when it was of no version
            self._died(new.zygote, new.zygote.died_of)

    def _carried(self, manifest: Manifest) -> Plan:
        """The plan in force for another version, or one of that version's own where it has other stages.

        Groups batch, and have of GPUs, what they do now, as long as their stages declare what they did.
        """
        current, config = self._live.current.route.plan, self._config
        try:
            plan = make_plan(manifest, current.grain, _replicas(current), config.gpu_shares)
        except GrainError:
            grain = manifest.grain
            logger.warning(
                "grain %s is none of the new version's: its own is taken, %s", current.grain, grain
            )
            return self._plan(manifest, grain, config.replicas)
        old = self._live.manifest
        same = [
            group
            for group in current.groups
            if all(_declared(old, name) == _declared(manifest, name) for name in group.stages)
        ]
        return self._checked(shaped(plan, same))

    def _plan(self, manifest: Manifest, grain: str, replicas: str) -> Plan:
        """Make a plan that the node can hold; GrainError or SpecError if there is none."""
        return self._checked(make_plan(manifest, grain, replicas, self._config.gpu_shares))

    def _checked(self, plan: Plan) -> Plan:
        """Return a plan that the node can hold; SpecError if it cannot."""
        if self._gpus is not None:
            self._gpus.check(plan)
        return plan

    async def _carry(self, release: Release, plan: Plan, homes: Homes | None = None) -> Change:
        """Put a plan in force, over smaller ones where memory allows no other way; what fails leaves all as it was.

        homes: which pods have which stages from then on, None: those that have them now.
        """
        old, remote = self._live.current, self._remote
        if remote is not None:
            plan = remote.placed(plan, release.manifest, homes)
        legs = await self._legs(old, release, plan)
        for leg in legs[:-1]:
            logger.info("both plans at once do not fit: going over %s", _replicas(leg.plan))
        try:
            for leg in legs:
                crew, where = (self._crew(release), homes) if leg.is_new else (old.crew, None)
                change = await self._live.change(self._app(crew, leg.plan, where))
        except RegrainError:
            shrunk = self._live.current
            if shrunk is not old and shrunk.crew is old.crew and len(legs) > 1:
                await self._live.change(self._app(old.crew, old.route.plan))
            raise
        if remote is not None and homes is not None:
            remote.homes = homes
        return change

    async def _legs(self, old: App, release: Release, plan: Plan) -> list[Leg]:
        """Return the way to a plan; RequestError (409) with both numbers if there is none."""
        missing = {group.name: group.replicas for group in plan.groups}
        if release.manifest is old.manifest:
            missing = dict(old.crew.cast(plan.groups).missing)
        keeps = old.crew.keeps
        needed = sum(
            missing.get(group.name, 0) * memory_of_replica(group, release.manifest, keeps)
            for group in plan.groups
        )
        free = await asyncio.to_thread(free_memory) if needed else 0
        room, gpus = free + memory_of(old.route.plan, old.manifest, keeps), self._gpus

        def together(before: Plan | None, after: Plan) -> bool:
            plans = (after,) if before is None else (before, after)
            held = memory_of(before, old.manifest, keeps) if before is not None else 0
            fits = held + memory_of(after, release.manifest, keeps) <= room
            return fits and (gpus is None or gpus.hold(*plans))

        legs = path(
            old.route.plan,
            plan,
            fits=needed <= free and (gpus is None or gpus.has_room(plan, missing)),
            beside=together,
            alone=lambda one: together(None, one),
        )
        if gpus is not None and len(legs) <= 1:
            gpus.check_room(plan, missing)
        if not legs:
            raise no_room(needed, free)
        return legs

    def _crew(self, release: Release) -> Crew:
        """Return the crew of a version: the one in force, or a new one."""
        current = self._live.current.crew
        if release.manifest is current.manifest:
            return current
        return make_crew(release, self._config, current.keeps, self._gpus, beside=True)

    def _app(self, crew: Crew, plan: Plan, homes: Homes | None = None) -> App:
        app = App(
            plan,
            crew,
            max_queue=self._config.max_queue,
            max_items=self._config.max_items,
            measure=self._measure,
            failed=lambda error: logger.warning("%s", error),
        )
        if self._remote is not None:
            self._remote.join(app, homes)
        return app


def make_crew(
    release: Release, config: Config, keeps: str, gpus: Gpus | None = None, *, beside: bool = False
) -> Crew:
    """Make the crew of a version, without replicas; SpecError if it is to keep stages that it does not have."""
    resident.check(keeps, release.manifest.graph.stages)
    care = Care(hang_timeout=config.hang_timeout, memory=config.replica_memory, patience=config.start_timeout)
    return Crew(
        release.manifest,
        release.zygote,
        memory=config.memory,
        care=care,
        keeps=keeps,
        gpus=gpus,
        beside=beside,
    )


def shaped(plan: Plan, shapes: Sequence[Group]) -> Plan:
    """Return a plan whose groups batch, and have of a GPU, what groups of the same name do."""
    found = {group.name: group for group in shapes}
    return Plan(
        tuple(
            structs.replace(found[group.name], replicas=group.replicas) if group.name in found else group
            for group in plan.groups
        )
    )


def _replicas(plan: Plan) -> str:
    """A plan's numbers of replicas, as the setting has them; none for groups that only other pods run."""
    return ",".join(f"{group.name}={group.replicas}" for group in plan.groups if group.replicas)


def _declared(manifest: Manifest, stage: str) -> StageSpec:
    """Return what a stage declares, whatever its code is."""
    return structs.replace(manifest.stage(stage), digest="", doc="")
