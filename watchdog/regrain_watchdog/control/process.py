"""The controller as a process: reports come in, decisions go out and into the log.

The clock, the socket and the file are here; what is decided is up to `controller`.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from msgspec import structs

from regrain import manifest as manifests
from regrain.cards import card_of
from regrain.manifest import Manifest, StageSpec
from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.control.controller import Controller, Habits
from regrain_watchdog.control.decision import Decision
from regrain_watchdog.control.log import Log
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.control.predictors import ANALYTIC, Readying
from regrain_watchdog.front.adapting.words import (
    Brief,
    Device,
    Pieces,
    Report,
    Taken,
    Word,
    decode_report,
    encode,
)
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.cost import Node
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application, lists
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.profile import Profile, StageProfile
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.search.fastest import fastest
from regrain_watchdog.policy.search.fluid import floor
from regrain_watchdog.policy.search.packing import pack, pods_of
from regrain_watchdog.policy.search.problem import Limits, NoPlanError, Problem, measured_shares
from regrain_watchdog.policy.switch import Reason

logger = logging.getLogger(__name__)

RECEIVE = 1 << 20
RECALLED = 600
"""Reports that are kept until something is known of every stage: as far back as a controller looks."""
STANDS_IN = "predictor {} cannot be had, analytic stands in: {}"
OTHERS = "others"
"""The stage that stands for all that other apps have of a GPU."""
LOADS = 1.0
"""Seconds that the stages of an app that nobody measured are taken to load."""


def serve(sock: socket.socket) -> None:
    """Answer the front's reports until it closes the socket; what goes wrong is the last answer."""
    try:
        _answer(sock)
    except Exception as error:  # the front says it, once, and starts another one
        *_, place = traceback.extract_tb(error.__traceback__)
        where = f"{Path(place.filename).name}, line {place.lineno}"
        with contextlib.suppress(OSError):
            sock.sendall(encode(Word(end=f"{type(error).__name__}: {error} ({where})")))


def _answer(sock: socket.socket) -> None:
    pieces = Pieces()
    mind: Adviser | None = None
    while chunk := sock.recv(RECEIVE):
        for body in pieces.feed(chunk):
            message = decode_report(body)
            if isinstance(message, Brief):
                mind = Adviser(message)
                sock.sendall(encode(Word(warning=mind.warning())))
            elif mind is not None:
                sock.sendall(encode(mind.advise(message)))


class Adviser:
    """Turns reports into what the front is to do."""

    def __init__(self, brief: Brief) -> None:
        self._brief = brief
        self._manifest = manifests.loads(brief.manifest)
        found = profiles.loads(brief.profile) if brief.profile else unmeasured(self._manifest, brief.devices)
        if brief.pods > 1:
            found = structs.replace(found, remote=structs.replace(found.remote, seconds=brief.remote))
        self._refined = Refined(found, {stage.name: stage.max_size for stage in self._manifest.stages})
        self._node = Node(
            cards=tuple(
                card_of(one.name, sms=one.sms, memory=one.memory, part=one.part) for one in brief.devices
            ),
            cores=brief.cores,
            memory=brief.memory,
            pods=brief.pods,
        )
        self._warnings: list[str] = []
        self._readying: Readying | None = None
        self._predictor = self._made(brief.predictor)
        self._controller: Controller | None = None
        self._problem: Problem | None = None
        self._beside: list[tuple[Plan, Profile]] = []
        self._log = Log(Path(brief.log)) if brief.log else None
        self._is_written = True
        self._warned: set[str] = set()
        self._before: deque[Observation] = deque(maxlen=RECALLED)
        for report in brief.past:
            self._note(observation(report))

    def advise(self, report: Report) -> Word:
        """Take in a report; say what is to be done."""
        self._settle()
        seen = observation(report)
        self._beside[:] = beside(report.taken)
        controller = self._ready(seen)
        if controller is None:
            return Word()
        decision = controller.observe(seen)
        self._write_down(seen, decision)
        warning = self.warning()
        return self._word(decision, warning) if decision is not None else Word(warning=warning)

    def warning(self) -> str:
        """Return what is to be said and was not yet; "" where there is nothing."""
        told, self._warnings = "; ".join(self._warnings), []
        return told

    def _made(self, name: str) -> Predictor:
        """Return the predictor that is wanted; queueing theory stands in until it is there, or where it cannot be."""
        if name == ANALYTIC:
            return Analytic()
        self._readying = Readying(name)
        return self._readying.pair

    def _settle(self) -> None:
        """Decide by the predictor that is wanted from now on, if it is ready."""
        try:
            if self._readying is not None and self._readying.settle():
                self._readying = None
        except Exception as error:  # numba's are of many kinds, and the app is served on
            self._readying = None
            self._warnings.append(STANDS_IN.format(self._brief.predictor, error))

    def _ready(self, seen: Observation) -> Controller | None:
        """Return the controller, once something is known of every stage."""
        if self._controller is None:
            known = self._refined.profile()
            if not all(stage.points for stage in known.stages.values()):
                self._note(seen)
                return None
            is_spread = self._node.pods > 1
            app = Application(manifest=self._manifest, profile=known, slo=self._brief.slo, spread=is_spread)
            shares = measured_shares(known.stages.values()) or (1.0,)
            limits = Limits(shares=shares, fluid=bool(self._node.cards) and not is_spread)
            self._problem = replace(Problem.of(app, self._node, limits=limits), beside=self._beside)
            first = self._before[0] if self._before else seen
            self._controller = Controller(
                self._problem,
                self._predictor,
                begin=float(first.at[0]) if len(first.at) else first.now,
                habits=Habits(period=self._brief.period),
                refined=self._refined,
            )
            for one in self._before:
                self._controller.recall(one)
            self._before.clear()
            if said := too_fast(self._problem):
                self._warnings.append(said)
        return self._controller

    def _write_down(self, seen: Observation, decision: Decision | None) -> None:
        """Keep the log; where it cannot be written that is said once, and decisions are made all the same."""
        if self._log is None:
            return
        try:
            self._log.follow(seen, decision)
            self._is_written = self._is_written or decision is not None
        except OSError as error:
            if self._is_written:
                self._warnings.append(f"decisions are not written to {self._brief.log}: {error.strerror}")
            self._is_written = False

    def _note(self, seen: Observation) -> None:
        """Learn what stages take, and keep the rest until there is a controller to be told."""
        for calls in seen.seen:
            self._refined.take(calls)
        self._before.append(replace(seen, seen=()))

    def _word(self, decision: Decision, warning: str) -> Word:
        told = msgspec.json.encode(Explained.of(decision))
        if decision.reason in (Reason.FAILED.name, Reason.NONE.name) and decision.reason not in self._warned:
            self._warned.add(decision.reason)
            warning = f"{decision.sentence}, the plan stays as it is: {decision.detail}"
        if decision.plan is None:
            hit_rate = decision.present.hit_rate
            return Word(decision=told, predicted=hit_rate, sentence=decision.sentence, warning=warning)
        known = self._refined.profile()
        placed = pack(decision.plan, known, self._node) or ()
        return Word(
            decision=told,
            predicted=next((one.hit_rate for one in decision.candidates if one.plan == decision.plan), None),
            plan=outgoing(decision.plan),
            placement={
                group.name: seats
                for group, seats in zip(decision.plan.groups, placed, strict=False)
                if seats and group.fluid is None
            },
            pods={one.name: pods_of(one, known, self._node) for one in decision.plan.groups}
            if self._node.pods > 1
            else {},
            sentence=decision.sentence,
            warning=warning,
        )


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """A decision, and what it would take to decide otherwise."""

    decision: Decision
    needs: tuple[str, ...]

    @classmethod
    def of(cls, decision: Decision) -> Explained:
        """Explain a decision."""
        return cls(decision=decision, needs=decision.needs)


def observation(report: Report) -> Observation:
    """Return a report as the controller takes it."""
    return Observation(
        now=report.now,
        at=np.frombuffer(report.at, np.float64),
        size=np.frombuffer(report.size, np.float64),
        first=report.first,
        widened=np.frombuffer(report.widened, np.int64).reshape(-1, 3),
        hits=report.hits,
        misses=report.misses,
        plan=incoming(report.plan),
        living=report.living,
        is_changing=report.is_changing,
        is_held=report.is_held,
        seen=report.seen,
    )


def beside(taken: Sequence[Taken]) -> list[tuple[Plan, Profile]]:
    """Return what other apps have of each GPU as plans that are left their room: a replica that has all of it."""
    return [
        (
            Plan((Group(stages=(OTHERS,), cpu=0.0, gpu=GpuShare(fraction=min(1.0, one.share))),)),
            Profile(
                app="",
                stages={OTHERS: StageProfile(digest="", on_gpu=True, points=(), weights=one.memory)},
            ),
        )
        for one in taken
        if one.share > 0 or one.memory
    ]


def outgoing(plan: Plan) -> Plan:
    """Return a plan as the front serves it: without floors, so that two plans fit beside each other for a while.

    What a plan gives away together is no more than the GPUs have, so that in force alone it needs no floors.
    """
    return Plan(tuple(_floored(group, 0.0) for group in plan.groups))


def incoming(plan: Plan) -> Plan:
    """Return a plan in force as the planner writes it, each replica's share reserved; the counterpart of `outgoing`."""
    return Plan(tuple(_floored(group, _reserved(group)) for group in plan.groups))


def unmeasured(manifest: Manifest, devices: tuple[Device, ...]) -> Profile:
    """Return the profile of an app that nobody measured: no times, and what its stages declare."""
    return Profile(
        app=manifest.app,
        device=devices[0].name if devices else "",
        stages={stage.name: _unmeasured(stage, bool(devices)) for stage in manifest.stages},
    )


def too_fast(problem: Problem) -> str:
    """Return what is to be said of an objective that no plan can meet; "" where one might."""
    one = np.ones((1, len(lists(problem.app.graph))), np.int32)
    request = Arrivals(np.zeros(1), np.zeros(1), one, 1.0)
    try:
        least = fastest(problem, request)
    except NoPlanError as error:
        return str(error)
    wanted = problem.app.slo.latency
    if wanted > least:
        return ""
    return f"no plan can answer within {wanted:g} s: the lightest request takes {least:.3g} s at least, under any"


def _unmeasured(stage: StageSpec, has_gpus: bool) -> StageProfile:
    on_gpu = stage.gpu is not None and has_gpus
    weights = stage.gpu.memory if on_gpu and stage.gpu is not None else stage.memory
    return StageProfile(digest=stage.digest, on_gpu=on_gpu, points=(), load=LOADS, weights=weights)


def _reserved(group: Group) -> float:
    """Return what each replica of a group has reserved, of a GPU."""
    if group.fluid is not None:
        return floor(group.fluid, group.replicas)
    return group.gpu.fraction if group.gpu is not None else 0.0


def _floored(group: Group, part: float) -> Group:
    if group.gpu is None:
        return group
    return structs.replace(group, gpu=structs.replace(group.gpu, floor=part))
