"""Assigns the groups of an app to its running pods: looks at them over and over, and tells them what has changed.

It holds nothing that it could not ask for: epochs are higher than all that pods know, and an assignment in force needs
nobody. So it may die at any moment; the pods serve on as they were last told, and the next one begins where they are.
Pods are told, and ask for nothing: they need not know where the controller is, or whether there is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from regrain import manifest as manifests
from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.control.cluster import Cluster, Decided, Switches
from regrain_watchdog.front.adapting.words import Watched
from regrain_watchdog.front.remote.assignee import ASSIGN, MANIFEST, RELEASE, WATCH, WHY, Assign, Release
from regrain_watchdog.front.remote.line import Line, PodError, Terms
from regrain_watchdog.policy import assignment as policy
from regrain_watchdog.policy.assignment import Assignment, Standing

logger = logging.getLogger(__name__)

LOOK = 0.25
"""Seconds between two looks at the pods."""
TIMEOUT = 2.0
"""Seconds in which a pod must say how it stands."""
GONE = 5.0
"""Seconds after which a pod that says nothing is no longer counted on; from when it was first asked if it never did."""
AGAIN = 5.0
"""Seconds after which a pod that could not do what it was told is told again."""
WATCH_EVERY = 1.0
"""Seconds between two questions for the load."""
LIMIT = 1 << 24
"""Bytes of what a pod says at most."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator wants: a grain ("": the app's own), and the replicas of its groups in all pods together.

    holds: whether it counts also where the plan is adapted to the load.
    """

    grain: str
    replicas: str = ""
    holds: bool = False


@dataclass(slots=True)
class _Seen:
    """A pod: how to ask it, what it said last and when (CLOCK_MONOTONIC), and when it may be told something again.

    since: when it was first asked. has_served: whether it was ready once, as one is that has an assignment in force;
    what it lacks later may be on its way.
    """

    line: Line
    since: float
    has_served: bool = False
    standing: Standing | None = None
    at: float = 0.0
    told: asyncio.Task[None] | None = None
    again: float = 0.0


@dataclass(slots=True)
class _Version:
    """What is known of a version: the app, who adapts its plan, its assignment, and since when (CLOCK_MONOTONIC)."""

    manifest: Manifest
    cluster: Cluster | None = None
    last: Assignment | None = None
    since: float = 0.0
    refused: str = field(default="")


class Assigner:
    """Keeps an app's pods at a wish.

    Args:
        secret: what requests are signed with.
        pods: gives their URLs at the moment.
        wish: gives what is wanted at the moment; None for the app's own grain.
        patience: seconds in which a pod must have an assignment in force.
        adapt: how the plan is adapted to the load; None where it is the wish.
    """

    def __init__(
        self,
        secret: str,
        pods: Callable[[], Awaitable[Sequence[str]]],
        wish: Callable[[], Wish | None],
        *,
        patience: float,
        adapt: Switches | None = None,
    ) -> None:
        self._terms = Terms(secret=secret, version="", epoch=lambda: 0, limit=LIMIT)
        self._pods = pods
        self._wish = wish
        self._patience = patience
        self._adapt = adapt
        self._wished = Wish("")
        self._watched = 0.0
        self._seen: dict[str, _Seen] = {}
        self._versions: dict[str, _Version] = {}

    async def run(self) -> None:
        """Look and tell, until cancelled."""
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK)
        finally:
            for known in self._versions.values():
                if known.cluster is not None:
                    await known.cluster.stop()

    async def look(self) -> None:
        """Ask all pods how they stand, and tell each what it is to do."""
        self._wished = self._wish() or Wish("")
        urls = await self._pods()
        for url in [url for url in self._seen if url not in urls]:
            self._forget(url)
        for url in urls:
            self._seen.setdefault(url, _Seen(Line(url, self._terms), time.monotonic()))
        await asyncio.gather(*(self._ask(url) for url in urls))
        standings = self._standings()
        versions = {one.version for one in standings.values()}
        for version, known in self._versions.items():
            if known.cluster is not None and version not in versions:
                known.cluster.rest()
        for version in versions:
            await self._steer(version, {url: one for url, one in standings.items() if one.version == version})
        await self._forget_versions()
        if self._adapt is not None and time.monotonic() >= self._watched + WATCH_EVERY:
            self._watched = time.monotonic()
            serving = [(url, one) for url, one in standings.items() if self._seen[url].has_served]
            await asyncio.gather(*(self._watch(url, one) for url, one in serving))

    async def _ask(self, url: str) -> None:
        seen = self._seen[url]
        try:
            told = await seen.line.ask("GET", ASSIGN, timeout=TIMEOUT, twice=True)
            seen.standing, seen.at = msgspec.json.decode(told, type=Standing), time.monotonic()
            seen.has_served = seen.has_served or seen.standing.ready or seen.standing.epoch > 0
        except (PodError, msgspec.MsgspecError) as error:
            logger.debug("pod %s: %s", url, error)

    async def _forget_versions(self) -> None:
        """Forget the versions that no pod serves any more."""
        served = {seen.standing.version for seen in self._seen.values() if seen.standing is not None}
        for version in [version for version in self._versions if version not in served]:
            cluster = self._versions.pop(version).cluster
            if cluster is not None:
                await cluster.stop()

    async def _watch(self, url: str, standing: Standing) -> None:
        """Ask a pod what it saw of the load."""
        known = self._versions.get(standing.version)
        if known is None or known.cluster is None:
            return
        asked = time.monotonic()
        try:
            told = await self._seen[url].line.ask("GET", WATCH, timeout=TIMEOUT, twice=True)
            received = time.monotonic()
            watched = msgspec.msgpack.decode(told, type=Watched)
            known.cluster.take(url, watched, received, received - asked)
        except (PodError, msgspec.MsgspecError, ValueError) as error:
            logger.debug("pod %s: %s", url, error)

    def _standings(self) -> dict[str, Standing]:
        """Return what the pods said that are counted on."""
        now = time.monotonic()
        return {
            url: seen.standing
            for url, seen in sorted(self._seen.items())
            if seen.standing is not None and now - seen.at < GONE
        }

    async def _steer(self, version: str, standings: Mapping[str, Standing]) -> None:
        """Bring the pods of one version to what is wanted."""
        known = self._versions.get(version) or await self._meet(version, next(iter(standings)))
        if known is None:
            return
        wanted = self._wanted(version, known, standings)
        if wanted is None:
            return
        if known.last is None or known.last.epoch != wanted.epoch:
            known.last, known.since = wanted, time.monotonic()
        for url in policy.behind(wanted, standings):
            self._tell(url, ASSIGN, msgspec.json.encode(Assign(wanted, url)))
        if policy.is_over(wanted, standings):
            for url in standings:
                self._tell(url, RELEASE, msgspec.json.encode(Release(wanted.epoch)))
        if known.cluster is not None:
            self._follow(known, known.cluster, wanted, standings)

    def _follow(
        self, known: _Version, cluster: Cluster, wanted: Assignment, standings: Mapping[str, Standing]
    ) -> None:
        """Tell who adapts the plan how that stands, and pods what was decided.

        After a while also that it does not come into force.
        """
        is_changing = not policy.is_settled(wanted, standings)
        cluster.stand(list(standings), wanted, is_changing=is_changing, is_held=self._wished.holds)
        late = time.monotonic() - known.since > self._patience
        if late and not policy.is_in_force(wanted, standings):
            cluster.give_up()
        for url in cluster.uninformed(standings):
            self._tell(url, WHY, cluster.explained)

    async def _meet(self, version: str, url: str) -> _Version | None:
        try:
            told = await self._seen[url].line.ask("GET", MANIFEST, timeout=TIMEOUT, twice=True)
            found = manifests.loads(told)
        except (PodError, msgspec.MsgspecError) as error:
            logger.warning("pod %s does not say what app it is: %s", url, error)
            return None
        if found.digest != version:
            return None
        cluster = Cluster(found, self._adapt) if self._adapt is not None else None
        self._versions[version] = _Version(found, cluster)
        return self._versions[version]

    def _wanted(self, version: str, known: _Version, standings: Mapping[str, Standing]) -> Assignment | None:
        """Return the assignment that is to be in force; None where there is no plan to make it of."""
        last = known.last or policy.newest(standings, version)
        cluster = known.cluster
        if cluster is not None and known.last is None and last is not None and last.groups:
            cluster.assign(Decided.of(known.manifest, last))
        decided = cluster.decided if cluster is not None and not self._wished.holds else None
        plan = Plan(decided.groups) if decided is not None else self._plan(known)
        pods = [url for url, one in standings.items() if self._seen[url].has_served and not one.draining]
        pods = sorted([*pods, *self._awaited(last)]) if pods else []
        if plan is None or not pods:
            return last
        before = policy.follows(last, plan.grain, {group.name: () for group in plan.groups})
        if cluster is not None and decided is not None:
            homes, replicas, groups = policy.laid_out(plan.groups, decided.counts, pods, before)
            cluster.assign(decided)
        else:
            weights = {group.name: float(group.replicas) for group in plan.groups}
            homes, groups = policy.assigned(weights, pods, before), ()
            replicas = {group.name: -(-group.replicas // len(homes[group.name])) for group in plan.groups}
        wanted = Assignment(
            epoch=policy.next_epoch(list(standings.values()), last),
            version=version,
            grain=plan.grain,
            homes=homes,
            replicas=replicas,
            groups=groups,
        )
        if last is not None and wanted.says_as(last) and not _is_ahead(last, standings):
            return last
        logger.info("epoch %d: %s", wanted.epoch, _shown(wanted))
        return wanted

    def _awaited(self, last: Assignment | None) -> list[str]:
        """Return the pods of an assignment that have told this controller nothing yet, and still may."""
        now = time.monotonic()
        homes = last.homes.values() if last is not None else ()
        return [
            url
            for url, seen in self._seen.items()
            if seen.standing is None and now - seen.since < GONE and any(url in pods for pods in homes)
        ]

    def _plan(self, known: _Version) -> Plan | None:
        wish = self._wished
        try:
            plan = make_plan(known.manifest, wish.grain or known.manifest.grain, wish.replicas)
        except SpecError as error:
            if known.refused != str(error):
                known.refused = str(error)
                logger.error("what is wanted is none of %s: %s", known.manifest.app, error)
            return None
        known.refused = ""
        return plan

    def _tell(self, url: str, path: str, body: bytes) -> None:
        """Tell a pod something, unless it still does what it was told."""
        seen = self._seen[url]
        if (seen.told is None or seen.told.done()) and time.monotonic() >= seen.again:
            seen.told = asyncio.ensure_future(self._told(url, path, body))

    async def _told(self, url: str, path: str, body: bytes) -> None:
        seen = self._seen[url]
        try:
            answer = await seen.line.ask("POST", path, body, timeout=self._patience, twice=True)
            standing = seen.standing = msgspec.json.decode(answer, type=Standing)
            seen.at = time.monotonic()
            known = self._versions.get(standing.version)
            if path == WHY and known is not None and known.cluster is not None:
                known.cluster.informed(url, body)
        except (PodError, msgspec.MsgspecError) as error:
            logger.warning("pod %s did not do what it was told: %s", url, error)
            seen.again = time.monotonic() + AGAIN

    def _forget(self, url: str) -> None:
        seen = self._seen.pop(url)
        if seen.told is not None:
            seen.told.cancel()
        seen.line.close()


def _is_ahead(last: Assignment, standings: Mapping[str, Standing]) -> bool:
    """Whether a pod knows of a later epoch: another controller was at work."""
    return any(one.epoch > last.epoch for one in standings.values())


def _shown(wanted: Assignment) -> str:
    return "; ".join(f"{group} on {', '.join(pods)}" for group, pods in wanted.homes.items())
