"""Decides on the plan that all pods of a version have together, as `regrain run --adapt` does for one.

The process that decides is the same (front/adapting/mind.py), and so is what goes to it: it is told of one node, whose
equal parts the pods are, and of one load, that of all their fronts. What it decides is laid out over the pods by the
assigner. Whatever becomes of it, the plan that was decided last stays.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from regrain import manifest as manifests
from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest, SLOSpec
from regrain.plan import Group, Plan
from regrain_watchdog.control.gathered import Gathered
from regrain_watchdog.front.adapting.course import Course
from regrain_watchdog.front.adapting.mind import Mind
from regrain_watchdog.front.adapting.past import Past
from regrain_watchdog.front.adapting.words import Brief, Device, Report, Watched, Word
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.assignment import Assignment, Standing
from regrain_watchdog.policy.profile import ProfileError
from regrain_watchdog.words import configured

logger = logging.getLogger(__name__)

TRIPS, ENOUGH = 64, 8
"""Answers of pods, the quickest of which is what a hop takes, and those before which nothing is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How to decide: the profile's file or "", the predictor by name, seconds between wakes, the decision log or ""."""

    profile: str = ""
    predictor: str
    period: float
    log: str = ""

    def read(self) -> bytes:
        """Return the profile; SpecError if it is none."""
        if not self.profile:
            return b""
        try:
            found = Path(self.profile).read_bytes()
            profiles.loads(found)
        except (OSError, ProfileError) as error:
            raise SpecError(f"--profile: {self.profile}: {error}") from error
        return found


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan of all pods together, and by group how many of them run it."""

    groups: tuple[Group, ...]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Manifest, given: Assignment) -> Decided:
        """Return what an assignment has pods run."""
        counts = {name: len(pods) for name, pods in given.homes.items()}
        return cls(in_force(manifest, given).groups, counts)


@dataclass(frozen=True, slots=True)
class _Node:
    """What all pods have together, as far as each has as much as the others, and their objective."""

    pods: int
    devices: tuple[Device, ...]
    cores: float
    memory: int
    slo: SLOSpec

    @classmethod
    def of(cls, told: Sequence[Watched], slo: SLOSpec) -> _Node:
        count = len(told)
        least = min((one.devices for one in told), key=len)
        cores, memory = min(one.cores for one in told), min(one.memory for one in told)
        return cls(count, least * count, cores * count, memory * count, slo)


class Cluster:
    """Follows the pods of a version.

    Attributes:
        decided: what is to be in force; None before the first decision.
        explained: the last decision, and what it would take to decide otherwise, as JSON; b"" before the first.
    """

    def __init__(self, manifest: Manifest, switches: Switches) -> None:
        self.decided: Decided | None = None
        self.explained = b""
        self._course = Course()
        self._manifest = manifest
        self._switches = switches
        self._profile = _profile(switches, manifest)
        self._gathered = Gathered()
        self._past = Past()
        self._told: dict[str, Watched] = {}
        self._knows: dict[str, bytes] = {}
        self._trips: deque[float] = deque(maxlen=TRIPS)
        self._node: _Node | None = None
        self._plan: Plan | None = None
        self._proven: Decided | None = None
        self._assigned: Decided | None = None
        self._is_changing = self._is_held = self._warned = False
        self._mind = Mind(brief=self._brief, report=self._report, heard=self._hear)
        self.rest()

    def take(self, pod: str, told: Watched, received: float, trip: float) -> None:
        """Take what a pod says, when that came in (CLOCK_MONOTONIC), and the seconds from question to answer."""
        self._told[pod] = told
        self._trips.append(trip)
        if self._slo is not None:  # else nobody decides, and takes what is gathered
            self._gathered.add(pod, told.report, received)

    def stand(self, pods: Sequence[str], given: Assignment, *, is_changing: bool, is_held: bool) -> None:
        """Take how pods stand: the assignment that they have or are to have, and whether an operator holds it."""
        for pod in [pod for pod in self._told if pod not in pods]:
            self._gathered.forget(pod)
            del self._told[pod]
            self._knows.pop(pod, None)
        self._plan = in_force(self._manifest, given)
        self._is_changing, self._is_held = is_changing, is_held
        if is_held:
            self.decided = self._assigned = Decided.of(self._manifest, given)
        if not is_changing:
            self._proven = Decided.of(self._manifest, given)
        self._decide()

    def assign(self, decided: Decided) -> None:
        """Take that pods have, or are to have, what was decided."""
        self.decided = self._assigned = decided

    def rest(self) -> None:
        """No pod is counted on: decide nothing before one is, and drop what was decided and assigned to none."""
        self._node, self.decided = None, self._assigned
        self._mind.rest()

    def give_up(self) -> None:
        """What was decided does not come into force: go back to what was; not from what an operator holds."""
        if not self._is_held and self.decided is not None and self.decided != self._proven:
            logger.warning("what was decided does not come into force: back to what was before")
            self.decided = self._assigned = self._proven

    def uninformed(self, standings: Mapping[str, Standing]) -> list[str]:
        """Return the pods that have not been told of the last decision; each process that decides counts from 1."""
        number, last = self._course.number, self.explained
        return [
            pod
            for pod, one in standings.items()
            if number and (one.decision != number or self._knows.get(pod) != last)
        ]

    def informed(self, pod: str, explained: bytes) -> None:
        """A pod has been told of a decision."""
        self._knows[pod] = explained

    async def stop(self) -> None:
        """Decide no more."""
        await self._mind.stop()

    def _decide(self) -> None:
        """Have somebody decide, once enough is known; anew where pods have come or gone."""
        if not self._told or len(self._trips) < ENOUGH:
            return
        slo = self._slo
        if slo is None:
            if not self._warned:
                self._warned = True
                logger.warning("%s is not adapted: it has no objective", self._manifest.app)
            return
        node = _Node.of(list(self._told.values()), slo)
        if node == self._node:
            return
        self._node = node
        self._mind.renew()

    @property
    def _slo(self) -> SLOSpec | None:
        return next((one.slo for one in self._told.values() if one.slo is not None), None)

    def _brief(self) -> Brief:
        node, switches = self._node, self._switches
        if node is None:
            raise RuntimeError("nobody decides before a pod has told of itself")
        return Brief(
            manifest=manifests.dumps(self._manifest),
            slo=node.slo,
            profile=self._profile,
            devices=node.devices,
            cores=node.cores,
            memory=node.memory,
            predictor=switches.predictor,
            period=switches.period,
            log=switches.log,
            now=time.monotonic(),
            past=self._past.told(),
            pods=node.pods,
            remote=min(self._trips),
        )

    def _report(self) -> Report:
        if self._plan is None:
            raise RuntimeError("nobody decides before pods have a plan")
        report = self._gathered.told(
            time.monotonic(), self._plan, is_changing=self._is_changing, is_held=self._is_held
        )
        self._past.add(report)
        return report

    def _hear(self, word: Word) -> None:
        if word.warning:
            logger.warning("%s", word.warning)
        if word.decision:
            self.explained = word.decision
            self._course.add(word.decision, time.time())
        if word.plan is None or self._is_held:
            return
        counts = {group.name: max(1, word.pods.get(group.name, 1)) for group in word.plan.groups}
        self.decided = Decided(word.plan.groups, counts)
        self._is_changing = True
        logger.info("adapts to %s: %s", configured(word.plan), word.sentence)


def in_force(manifest: Manifest, given: Assignment) -> Plan:
    """Return the plan of all pods together that an assignment makes."""
    if given.groups:
        return Plan(given.groups)
    counts = {name: len(pods) * given.replicas.get(name, 1) for name, pods in given.homes.items()}
    return make_plan(manifest, given.grain, ",".join(f"{name}={count}" for name, count in counts.items()))


def _profile(switches: Switches, manifest: Manifest) -> bytes:
    """Return the profile if it is of this code; b"" where there is none, or none that can be read any more."""
    try:
        found = switches.read()
        if found:
            profiles.loads(found).check({stage.name: stage.digest for stage in manifest.stages})
    except (ProfileError, SpecError) as error:
        logger.warning("%s is left alone: %s", switches.profile, error)
        return b""
    return found
