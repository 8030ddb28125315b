"""A function: a group as deployed. Its queue, its replicas, and the batches that go between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from regrain.errors import RequestError
from regrain.plan import Group
from regrain.wire import frames
from regrain_watchdog.front import spans
from regrain_watchdog.front.call import LEAST_URGENT, Call
from regrain_watchdog.front.death import Death, cut_off, obituary
from regrain_watchdog.front.flight import Flight, Job
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.owner import Owner
from regrain_watchdog.front.pooled import FluidPool
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.reply import not_run, shutting_down
from regrain_watchdog.policy import batch, restart, retry
from regrain_watchdog.policy.admit import wait
from regrain_watchdog.policy.deadline import Estimate
from regrain_watchdog.policy.queue import NO_DEADLINE
from regrain_watchdog.policy.retry import Progress, Verdict
from regrain_watchdog.policy.shed import Entry, Fate, Line, fate

if TYPE_CHECKING:
    from regrain_watchdog.front.remote.peer import Peer

SLICE = 0.005
"""Seconds that short dispatches of one function may follow each other on a replica while another function waits."""


class Function:
    """A group's queue, and the replicas that serve it. In a fluid group each stage has one; they share a `pool`.

    group: what queues here. seat: the group whose replicas serve it, another one only in a fluid group.
    wanted: how many replicas are its own (its group's number once its plan is in force).
    peers: other pods that run it, where it has none or none that is free.
    is_warming: whether replicas that are merely loaded get batches, which is how they get warm at first.
    is_given_up: whether no replica of it can start.
    left: gives the seconds that a unit has from here to the end of its request, as Course.left does.
    deaths: how many replicas in a row ended before they were of use.
    """

    def __init__(
        self, group: Group, learned: Learned, *, measure: Measure, owner: Owner, pool: FluidPool | None = None
    ) -> None:
        self.group = group
        self.seat = pool.group if pool is not None else group
        self.pool = pool
        if pool is not None:
            pool.functions.append(self)
        self.learned = learned
        self.step = learned.step
        self.name = group.name
        self.owner = owner
        self.wanted = 0
        self.replicas: list[Replica] = []
        self.peers: list[Peer] = []
        self.is_warming = True
        self.is_given_up = False
        self._measure = measure
        self.left: Callable[[float], tuple[float, float, float]] = no_time
        self.deaths = 0
        self._line: Line[Job] = Line(lambda job: job.flight.ended)
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._line)

    @property
    def cost(self) -> Estimate:
        """What a unit's run and its hop take, as learned so far."""
        return self.learned.cost

    @property
    def own(self) -> list[Replica]:
        """The replicas that are its own; the others are guests."""
        return [replica for replica in self.replicas if replica.home is self]

    @property
    def is_looping(self) -> bool:
        """Whether its replicas end as soon as they start."""
        return restart.is_loop(self.deaths)

    @property
    def is_serving(self) -> bool:
        """Whether it has a replica that is warm, or another pod answers for it."""
        is_warm = any(one.state is State.READY for one in self.replicas)
        return is_warm or any(peer.is_open for peer in self.peers)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another pod answers for it, or may be about to."""
        return any(peer.is_hopeful for peer in self.peers)

    @property
    def is_lead(self) -> bool:
        """Whether replicas count for it: the first function of a fluid group stands for all of them."""
        return self.pool is None or self.pool.functions[0] is self

    def join(self, replica: Replica) -> None:
        """Have a replica serve it, beside what it serves already; a fluid group's first function stands for all."""
        for function in self.together():
            if replica not in function.replicas:
                function.replicas.append(replica)
                replica.functions.append(function)

    def part(self, replica: Replica) -> None:
        """Have a replica serve it no more; what it holds already comes back."""
        leaving = [function for function in self.together() if replica in function.replicas]
        for function in leaving:
            function.replicas.remove(replica)
        replica.functions = [one for one in replica.functions if one not in leaving]

    def together(self) -> Sequence[Function]:
        """Return the functions whose replicas it counts: itself, or all of a fluid group if it is the first of it."""
        return self.pool.functions if self.pool is not None and self.is_lead else (self,)

    def waiting(self) -> list[Job]:
        """Return the jobs that wait; some requests may have ended."""
        return [entry.unit for entry in self._line]

    def push(self, job: Job, *, first: bool = False) -> None:
        """Let a job wait for a replica; `first`: before its equals."""
        call = job.flight.call
        deadline = call.deadline
        entry = Entry(
            unit=job,
            since=time.monotonic(),
            deadline=deadline or NO_DEADLINE,
            priority=call.priority,
            budget=deadline - call.arrived,
            firm=call.firm,
            alone=job.alone,
        )
        job.flight.waiting += 1
        self._line.push(entry, first=first)

    def forget(self) -> None:
        """Requests have ended of which jobs wait here: they count no more."""
        self._line.forget()

    def urgency(self) -> tuple[float, float, float]:
        """How urgent the job is that waits here and is next: priority, deadline, arrival; less goes first."""
        head = self._line.head()
        if head is None:
            return NO_DEADLINE, NO_DEADLINE, NO_DEADLINE
        return head.priority, head.deadline, head.unit.flight.call.arrived

    def head_since(self) -> float:
        """Since when the job waits here that is next; infinite where none does."""
        head = self._line.head()
        return head.since if head is not None else NO_DEADLINE

    def pump(self) -> None:
        """Hand out every batch that is due, as long as a replica has room for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            now = time.monotonic()
            if self.pool is not None and self._is_early(now):
                return  # it has no turn in its pool either
            runner = self._idlest() or self._idle_peer()
            if runner is None or (isinstance(runner, Replica) and self._is_early(now)):
                return  # a pod makes batches of its own
            self._dispatch(runner, now)

    def bring(self, job: Job) -> None:
        """A job has come by itself: hand it out at once where its turn would do just that, else let it wait."""
        if self.pool is None and not len(self):
            runner = self._idlest() or self._idle_peer()
            now = time.monotonic()
            if runner is not None and self._goes(job.flight.call, runner, now):
                self._send(runner, [job], {job.flight: 0.0}, now)
                return
        self.push(job)
        self.pump()

    def warm(self, replica: Replica) -> None:
        """Run the sample on a replica; its results are thrown away."""
        size = len(self.learned.sample)
        units = [frames.Unit("warm-up", 0, 0.0, b"", values) for values in self.learned.sample]
        replica.run(units, Dispatch(self, [], size, time.monotonic()), self.learned.room(size))

    def finished(self, dispatch: Dispatch, done: frames.Done, now: float) -> None:
        """Learn from a run that came back: service time, room for results; add its spans to the calls."""
        service, leased = spans.totals(done.timings)
        answered = dispatch.first or now
        held = now - dispatch.sent if self.step.streams else service + leased
        nbytes = spans.placed(done) if dispatch.extents else 0
        self.learned.gave(nbytes / dispatch.size)
        is_asked = dispatch.is_asked
        if dispatch.jobs and self.learned.took(held, service / dispatch.size, is_asked=is_asked):
            self.cost.learn(answered - dispatch.sent, now, dispatch.size)
        hop = max(0.0, answered - dispatch.sent - service - leased)
        self._measure.ran(self.name, hop, done.timings, is_asked=is_asked)
        spans.ran(dispatch, done.timings, leased=leased, hop=hop)
        if dispatch.legs is not None:
            dispatch.legs.ran(done, hop=hop, now=now)

    def died(self) -> None:
        """Count a replica that ended without being told to."""
        self._measure.died(self.name)

    def drain(self, error: RequestError) -> None:
        """Refuse everything that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for job in self.waiting():
            self.refuse(job, error)
        self._line.forget()

    def refuse(self, job: Job, error: RequestError) -> None:
        """Have a request end whose job waits here."""
        self._line.forget()
        self.owner.refused(job, error)

    def ahead(self, *, priority: int, deadline: float) -> float:
        """Return the seconds until a replica would be free for a job that came now; 0.0 if one is free."""
        if any(peer.has_room for peer in self.peers):
            return 0.0
        serving = [replica for replica in self.replicas if replica.state is State.READY]
        is_free = not all(replica.holding for replica in serving)
        if not serving or (is_free and (self.pool is None or self.pool.has_room(self))):
            return 0.0
        waiting = self._line.ahead(priority=priority, deadline=deadline)
        return wait(waiting, self._size(), len(serving), self.learned.service)

    def _size(self) -> int:
        """Return how many units the next dispatch may hold; a stream is one dispatch's whole work."""
        if self.step.streams:
            return 1
        return batch.units_together(self.learned.unit_service, max_size=self.group.max_size)

    def drained_in(self) -> float:
        """Return the seconds until all that waits here will have been served."""
        return self.ahead(priority=LEAST_URGENT, deadline=NO_DEADLINE)

    def lost(self, dispatch: Dispatch, how_far: Progress, death: Death) -> None:
        """A replica died with a dispatch: let its jobs try again, or refuse them."""
        dispatch.lost(death.detail)
        shared, idempotent = len(dispatch.jobs) > 1, not death.rerun_bars
        if how_far is Progress.RAN:
            spans.cut(dispatch, death.stage, time.monotonic())
        for job in reversed(dispatch.jobs):  # what goes back in line last is next
            job.flight.flying -= 1
            if how_far is Progress.RAN:
                job.deaths += 1
            verdict = retry.verdict(
                how_far, deaths=job.deaths, idempotent=idempotent, shared=shared, timed_out=death.timed_out
            )
            items = job.flight.call.items
            if job.flight.ended:
                self.owner.refused(job, shutting_down())  # nobody hears it; its values are let go of
            elif items is not None and items.has_begun:
                self.owner.refused(job, cut_off(death))
            elif verdict in (Verdict.AGAIN, Verdict.ALONE):
                job.alone = job.alone or verdict is Verdict.ALONE
                self._measure.retried(self.name)
                self.push(job, first=True)
            else:
                if verdict is Verdict.POISON:
                    self._measure.poisoned(self.name)
                self.owner.refused(job, obituary(verdict, death))

    def unfit(self, dispatch: Dispatch, error: RequestError, *, is_last: bool = False) -> None:
        """A dispatch is too large, or what it gave: each of its jobs may fit by itself, unless it was its last try."""
        dispatch.lost(error.detail)
        for job in reversed(dispatch.jobs):  # as in `lost`
            job.flight.flying -= 1
            if is_last or len(dispatch.jobs) == 1 or job.flight.ended:
                self.owner.refused(job, error)
            else:
                job.alone = True
                self.push(job, first=True)

    def due(self, now: float) -> float:
        """When the next batch goes."""
        waiting = len(self._line)
        if self.group.max_wait <= 0.0 or waiting >= self.group.max_size:
            return now
        return batch.due(
            waiting,
            self._line.oldest(),
            max_size=self.group.max_size,
            max_wait=self.group.max_wait,
            now=now,
            latest=self._line.first_deadline() - self.left(now)[2],
        )

    def _is_early(self, now: float) -> bool:
        """Whether the next batch is to wait for more; it is looked at again when it is due."""
        due = self.due(now)
        if due > now:
            self._timer = asyncio.get_running_loop().call_later(due - now, self.pump)
        return due > now

    def _idlest(self) -> Replica | None:
        """The replica that holds least, if it may hold one more."""
        usable = (State.READY, State.LOADED) if self.is_warming else (State.READY,)
        if self.pool is not None:
            return self._idle_in(self.pool, usable)
        held = 1 if self.step.streams else batch.may_hold(self.learned.service)
        best = None
        for replica in self.replicas:
            if replica.state in usable and len(replica.holding) < held and self._may_follow(replica):
                held, best = len(replica.holding), replica
        return best

    def _idle_peer(self) -> Peer | None:
        """The pod that holds least of it, if one may hold more."""
        best = None
        for peer in self.peers:
            if peer.has_room and (best is None or len(peer.holding) < len(best.holding)):
                best = peer
        return best

    def _idle_in(self, pool: FluidPool, usable: Sequence[State]) -> Replica | None:
        """A replica of a fluid group that holds nothing, on a GPU that has the share, if it is this function's turn."""
        idle = [replica for replica in self.replicas if replica.state in usable and not replica.holding]
        device = pool.place(self) if idle else None
        able = (one for one in idle if device is not None and pool.is_on(one.number, device, self))
        return next(able, None)

    def _may_follow(self, replica: Replica) -> bool:
        """Whether a dispatch may go behind what a replica holds.

        Not behind another function's, which may be long, and not where another function has waited for SLICE.
        """
        if not replica.holding:
            return True
        if not all(one.function is self for one in replica.holding.values()):
            return False
        others = [one for one in replica.functions if one is not self and len(one)]
        return not others or time.monotonic() - min(one.head_since() for one in others) < SLICE

    def _dispatch(self, runner: Replica | Peer, now: float) -> None:
        jobs, waits = self._take(now)
        if jobs:
            self._send(runner, jobs, waits, now)

    def _send(self, runner: Replica | Peer, jobs: list[Job], waits: dict[Flight, float], now: float) -> None:
        """Hand out a batch whose calls have waited for so many seconds."""
        dispatch = Dispatch(self, jobs, len(jobs), now)
        if self._measure.traces is not None:
            dispatch.legs = self._measure.traces.send(dispatch, runner, waits)
        units = [job.unit() for job in jobs]
        for job in jobs:
            job.flight.flying += 1
        try:
            runner.run(units, dispatch, self.learned.room(len(jobs)))
        except RequestError as error:  # it is too large for a frame, or descriptors are lacking
            self.unfit(dispatch, error)
            return
        spans.waited(self.name, waits)
        if not self.learned.sample:
            self.learned.keep([job.values for job in jobs if job.flight.call.is_sample], runner.pool)
        self._measure.dispatched(self.name, len(jobs), max(waits.values()))

    def _take(self, now: float) -> tuple[list[Job], dict[Flight, float]]:
        """Take the next batch from the queue; return it, and how long each of its calls waited."""
        jobs: list[Job] = []
        waits: dict[Flight, float] = {}
        size = self._size()
        expected, safe, _ = self.left(now)
        taken = self._line.take(size, expected=expected, safe=safe, now=now, more=self.cost.slope)
        for job in taken.shed:
            job.flight.waiting -= 1
            self.owner.refused(job, not_run(self.group.stages[0]))
        for job, since in taken.units:
            flight = job.flight
            if not flight.ended:  # another job of its may have been shed just now
                flight.waiting -= 1
                waits[flight] = max(waits.get(flight, 0.0), now - since)
                jobs.append(job)
        return jobs, waits

    def _goes(self, call: Call, runner: Replica | Peer, now: float) -> bool:
        """Whether a unit with which nobody waits is not waited with either, nor shed, nor late."""
        group = self.group
        if group.max_wait > 0.0 and group.max_size > 1 and isinstance(runner, Replica):
            return False
        if not call.deadline:
            return True
        expected, safe, _ = self.left(now)
        return fate(call.deadline, firm=call.firm, expected=expected, safe=safe, now=now) is Fate.GOES


def no_time(_now: float) -> tuple[float, float, float]:
    """What a unit has to go where no route says."""
    return 0.0, 0.0, 0.0
