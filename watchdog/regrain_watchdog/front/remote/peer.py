"""A pod as one function's peer: takes its dispatches as a replica does, and gives back what came of them.

The function keeps its queue, its order and its second attempts; the pod makes its own batches of what all fronts send.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus

from regrain.errors import RequestError
from regrain.wire import frames
from regrain.wire.frames import Done, FrameError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.death import Death
from regrain_watchdog.front.flight import Job
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.outcomes import are_sound, has_shape
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.line import PodError
from regrain_watchdog.front.remote.pod import Pod
from regrain_watchdog.front.replica import Dispatch
from regrain_watchdog.front.reply import shutting_down
from regrain_watchdog.policy.breaker import LONGEST as LONGEST_WAIT
from regrain_watchdog.policy.retry import Progress

logger = logging.getLogger(__name__)

SHORTEST = 10.0
"""Seconds that a pod has for an answer at least: a late one may still be wanted."""
LONGEST = 3600.0
"""Seconds that it has at most."""


class Peer:
    """What a function has of a pod.

    Args:
        pod: the other one.
        function: whose group it runs.
        crew: the replicas of this version, which run the group where no pod does.
        grain: of the function's plan, by which the pod knows what the group takes and gives.
        patience: seconds that it has for what has no deadline; 0.0 for LONGEST.

    Attributes:
        pool: where values are.
        holding: the dispatches that it has.
    """

    def __init__(self, pod: Pod, function: Function, crew: Crew, grain: str, patience: float) -> None:
        self.pod = pod
        self.function = function
        self.pool = crew.pool
        self.holding: dict[int, Dispatch] = {}
        self._crew = crew
        self._grain = grain
        self._patience = patience or LONGEST
        self._path = f"{wire.PREFIX}/{function.name}"
        self._numbers = itertools.count()
        self._forget: dict[int, Callable[[], None]] = {}
        self._refused_until = 0.0
        pod.peers.append(self)
        function.peers.append(self)
        names = function.group.stages
        self._bars = next((name for name in names if not crew.manifest.stage(name).idempotent), "")

    @property
    def is_open(self) -> bool:
        """Whether the pod answers, and has not refused the group just now."""
        return self.pod.is_open and time.monotonic() >= self._refused_until

    @property
    def is_hopeful(self) -> bool:
        """Whether the pod answers, or may be about to."""
        return self.pod.is_hopeful and time.monotonic() >= self._refused_until

    @property
    def has_room(self) -> bool:
        """Whether the pod may be sent one more dispatch."""
        return self.pod.has_room and self.is_open

    def run(self, _units: Sequence[frames.Unit], dispatch: Dispatch, _nbytes: int) -> None:
        """Send the pod a batch; RequestError if it is too large for a frame."""
        now = time.monotonic()
        loading = wire.Loading(self.pool)
        guests = [_guest(job, loading, now) for job in dispatch.jobs]
        frame = loading.pieces(wire.Ask(self._grain, self.function.name, guests))
        nbytes = sum(map(len, frame))
        if nbytes > self.pod.terms.limit:
            detail = f"what {self.function.name} takes is {nbytes} bytes, over {self.pod.terms.limit}"
            raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
        number = next(self._numbers)
        timeout = self._timeout([job.flight.call for job in dispatch.jobs], now)
        told = partial(self._heard, number, dispatch)
        self._forget[number] = self.pod.send(self._path, frame, told, timeout=timeout, twice=not self._bars)
        self.holding[number] = dispatch

    def moved(self) -> None:
        """The pod begins or ceases to answer: what waits goes on there, or here."""
        if self.is_open:
            self._crew.relieve(self.function)
        elif not self.is_hopeful:
            self._crew.staff(self.function)
        self.function.pump()

    def close(self) -> None:
        """Ask the pod no more; what it has is refused."""
        self.pod.leave(self)
        self.function.peers.remove(self)
        for forget in self._forget.values():
            forget()
        self._forget.clear()
        held, self.holding = self.holding, {}
        for dispatch in held.values():
            self.function.owner.lost(dispatch, shutting_down())

    def _refused(self, error: PodError) -> None:
        """The pod is there and does not run the group: it is asked again after a while."""
        if time.monotonic() >= self._refused_until:  # else it was said when what was sent before came back
            logger.info("pod %s does not run %s for us: %s", self.pod.url, self.function.name, error)
        self._refused_until = time.monotonic() + LONGEST_WAIT
        asyncio.get_running_loop().call_later(LONGEST_WAIT, self.moved)
        self.moved()

    def _heard(self, number: int, dispatch: Dispatch, answer: bytes | memoryview | PodError) -> None:
        """See a dispatch to its end."""
        del self._forget[number], self.holding[number]
        try:
            if isinstance(answer, PodError):
                raise answer
            done = self._landed(dispatch, answer)
        except PodError as error:
            self._failed(dispatch, error)
        except RequestError as error:  # no memory for what it gave
            self.function.owner.lost(dispatch, error)
        else:
            self.function.owner.done(self, dispatch, done)
        self.function.pump()

    def _failed(self, dispatch: Dispatch, error: PodError) -> None:
        if error.too_large:
            detail = f"what {self.function.name} gives is over {self.pod.terms.limit} bytes"
            failure = RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail)
            self.function.unfit(dispatch, failure, is_last=bool(self._bars))
            return
        stage = self.function.group.stages[0]
        if error.timed_out:
            logger.warning("pod %s is late with stage %r: %s", self.pod.url, stage, error)
        death = Death(
            stage=stage,
            detail=f"stage {stage!r} runs on another pod: {error}",  # which one is nobody's business outside
            timed_out=error.timed_out,
            rerun_bars=self._bars,
        )
        if error.refused:
            self._refused(error)
        self.function.lost(dispatch, Progress.RAN if error.ran else Progress.WAITED, death)

    def _landed(self, dispatch: Dispatch, answer: bytes | memoryview) -> Done:
        """Return what a pod gave, in shared memory; PodError if it does not fit what it was asked."""
        landing = None
        try:
            told, tail = wire.opened(answer, wire.Told)
            landing = wire.Landing(self.pool, tail)
            outcomes = [landing.outcome(outcome) for outcome in told.outcomes]
            _check(dispatch, outcomes, told.timings)
        except FrameError as error:
            if landing is not None:
                landing.forget()
            raise PodError(f"it sent no answer: {error}", ran=True, gone=False) from error
        if landing.extent is not None:
            dispatch.extents.append(landing.extent)
        return Done(0, outcomes, told.timings)

    def _timeout(self, calls: Sequence[Call], now: float) -> float:
        """Return the seconds after which nobody wants an answer any more: late by as much as they had."""
        if not all(call.deadline for call in calls):
            return self._patience
        wanted = max(call.deadline + (call.deadline - call.arrived) * (not call.firm) for call in calls)
        return min(self._patience, max(SHORTEST, wanted - now))


def _guest(job: Job, loading: wire.Loading, now: float) -> wire.Guest:
    call = job.flight.call
    return wire.Guest(
        call=call.id,
        left=call.deadline - now if call.deadline else 0.0,
        budget=call.deadline - call.arrived if call.deadline else 0.0,
        firm=call.firm,
        priority=call.priority,
        headers=call.headers,
        values=[loading.parts(parts) for parts in job.values],
    )


def _check(dispatch: Dispatch, outcomes: Sequence[wire.Outcome], timings: Sequence[frames.Timing]) -> None:
    """FrameError unless a pod's answer is one to a dispatch."""
    if len(outcomes) != dispatch.size:
        raise FrameError("it is of another shape")
    for outcome in outcomes:
        if not has_shape(dispatch.step, outcome):
            raise FrameError("it is of another shape")
    if not are_sound(dispatch, timings, abreast=dispatch.size):  # it may have as many replicas as that
        raise FrameError("what it tells of its stages cannot be true")
