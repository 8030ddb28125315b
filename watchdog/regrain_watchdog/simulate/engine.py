"""Replay requests under a plan on a virtual clock, and change the plan meanwhile.

    run = Run(model, arrivals, seed=1)
    run.advance(60.0)                   # look at run.result(), decide
    run.change(other, at=63.5)          # when its replicas will have loaded
    run.advance()
    result = run.result()

Several apps on one clock are several runs that are advanced in turn.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain.errors import SpecError
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Station
from regrain_watchdog.simulate import kernel, room
from regrain_watchdog.simulate.layout import Laid, is_fluid, is_same, lay_out
from regrain_watchdog.simulate.rows import addresses
from regrain_watchdog.simulate.staff import staff, vacate
from regrain_watchdog.simulate.state import (
    ALL,
    ARRIVED,
    CHANGED,
    DISPATCHED,
    FINISHED,
    IN_TIME,
    LATE,
    NEXT,
    PLAN,
    READIED,
    SHED,
    TIMED,
    UNFINISHED,
    Floats,
    State,
)

__all__ = ["IN_TIME", "LATE", "SHED", "UNFINISHED", "Result", "Run", "Worked"]

MAX_QUEUE = 1024
"""Requests that may wait for a replica at once, as the front has it by default."""
KINDS_OF_EVENTS = {
    "arrivals": ARRIVED,
    "ready": READIED,
    "dispatches": DISPATCHED,
    "ends": FINISHED,
    "due": TIMED,
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Result:
    """What became of the requests so far.

    Attributes:
        outcome: (n,) UNFINISHED, IN_TIME, LATE or SHED of each request that has arrived, in order.
        finish: (n,) when each was answered or refused, on the clock of Arrivals.at; nan for unfinished ones.
        latency: (n,) seconds from arrival to answer; nan for those that were not answered.
        busy: seconds that dispatches have taken, for each pool: the first plan's in its order, then each later plan's
            that it does not share with the one before.
        events: how many there were: arrivals, units coming to stations, dispatches, their ends, batches coming due.
    """

    outcome: NDArray[np.int8]
    finish: Floats
    latency: Floats
    busy: tuple[float, ...]
    events: dict[str, int]

    @property
    def hit_rate(self) -> float:
        """Share of the requests that were answered in time; 1.0 of none."""
        return float((self.outcome == IN_TIME).mean()) if len(self.outcome) else 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Worked:
    """Calls of one stage with so many units each: units in all, calls, and the seconds that they take together.

    Attributes:
        model: the plan that they are of. stage: its place in the app's graph.
    """

    model: Model
    stage: int
    units: int
    calls: int
    seconds: float


class Run:
    """Requests on their way through a plan.

    Args:
        model: the plan in force at first.
        arrivals: the requests. Nothing of a request is looked at before it arrives, but for the first one's size and
            widths, which stand for the app's sample: with it, replicas warm up and service times are learned at first.
        seed: of the jitter of service times.
        max_queue: requests that may wait for a replica at once; what comes beyond is shed.

    Raises:
        SpecError: the requests are not in order, or have no widths of the lists that the plan maps over.
    """

    def __init__(
        self, model: Model, arrivals: Arrivals, *, seed: int = 0, max_queue: int = MAX_QUEUE
    ) -> None:
        _check(arrivals, model)
        self._arrivals = arrivals
        self._widest = [int(most) for most in arrivals.widths.max(axis=0, initial=0)]
        self._pending: list[tuple[float, int, Model]] = []
        self._laid: list[Laid] = []
        self._known: dict[tuple[tuple[str, ...], int], int] = {}
        self._changes = 0
        self._busy: list[float] = []
        self._pool_rows: dict[int, int] = {}
        self._worked: list[Worked] = []
        self._state = room.with_slots(room.make_state(arrivals, seed=seed, max_queue=max_queue))
        self._memory = addresses(self._state)
        self._employ(model)

    @property
    def now(self) -> float:
        """The time that the clock shows."""
        return float(self._state.clock[0])

    @property
    def model(self) -> Model:
        """The plan in force."""
        return self._laid[-1].model

    def advance(self, until: float = float("inf")) -> None:
        """Let everything happen that does before a time, by default all."""
        while self._pending and self._pending[0][0] < until:
            at, _, model = heapq.heappop(self._pending)
            self._through(max(at, self.now))
            self._employ(model)
        self._through(until)

    def change(self, model: Model, *, at: float) -> None:
        """Have a plan come into force at a time, when what it needs has been loaded.

        Who arrives from then on takes it; who arrived before ends under the plan it began with. Pools with the same
        stations serve on, with as many servers as the new plan says; others end when they have nothing left to do.

        Raises:
            SpecError: the time has passed, or the plan maps over other lists.
        """
        _check(self._arrivals, model)
        if at < self.now:
            raise SpecError(f"a plan comes into force from now on, {self.now:g} s, not at {at:g} s")
        self._changes += 1
        heapq.heappush(self._pending, (at, self._changes, model))

    def result(self, since: int = 0) -> Result:
        """Return what became so far of the requests that have arrived, from one number on."""
        state, counts = self._state, self._state.counts
        arrived = int(counts[NEXT])
        outcome = state.outcome[since:arrived].copy()
        finish = state.finish[since:arrived].copy()
        answered = (outcome == IN_TIME) | (outcome == LATE)
        for number, row in self._pool_rows.items():
            self._busy[number] = float(state.pools[row]["busy"])
        return Result(
            outcome=outcome,
            finish=finish,
            latency=np.where(answered, finish - state.at[since:arrived], np.nan),
            busy=tuple(self._busy),
            events={name: int(counts[place]) for name, place in KINDS_OF_EVENTS.items()},
        )

    def worked(self) -> tuple[Worked, ...]:
        """Return the calls of stages that were handed out since this was asked last."""
        found = (*self._worked, *self._calls())
        self._worked = []
        self._state.called[:] = 0
        return found

    def _calls(self) -> list[Worked]:
        """Return the calls that the rows of works count."""
        works = [
            (one.model, work)
            for one in self._laid
            for station in one.model.stations
            for work in station.works
        ]
        ends = np.cumsum([work.seconds.size for _, work in works])
        called = np.flatnonzero(self._state.called["calls"])
        found = []
        for place, row in zip(
            np.searchsorted(ends, called, side="right"), self._state.called[called], strict=True
        ):
            model, work = works[place]
            units, calls, seconds = row.item()
            found.append(Worked(model=model, stage=work.stage, units=units, calls=calls, seconds=seconds))
        return found

    def _through(self, until: float) -> None:
        """Let the kernel run to a time, and make room where it asks for it."""
        while (status := kernel.advance(self._memory, until)) != kernel.THROUGH:
            match status:
                case kernel.MORE_EVENTS:
                    self._hold(room.with_events(self._state))
                case kernel.MORE_SLOTS:
                    self._hold(room.with_slots(self._state))
                case kernel.MORE_LINES:
                    self._hold(room.with_lines(self._state))

    def _hold(self, state: State) -> None:
        """Go on with a state, and keep where its arrays are."""
        self._state = state
        self._memory = addresses(state)

    def _employ(self, model: Model) -> None:
        """Bring a plan into force now."""
        self._worked += self._calls()
        kept = self._kept()
        before = kept[-1] if kept else None
        known = len(self._known)
        new = Laid(
            model=model,
            number=_free({one.number for one in kept}),
            first=_free_run([(one.first, one.last) for one in kept], len(model.stations)),
            pools=_pools(model, before, {row for one in kept for row in one.pools}),
            learned=tuple(self._known.setdefault(_step(one), len(self._known)) for one in model.stations),
        )
        self._laid = [*kept, new]
        servers = max(int(max(pool.servers for pool in model.pools)), self._state.servers.shape[1])
        state = room.replanned(
            self._state,
            lay_out(self._laid, self._widest),
            kept,
            learned=len(self._known),
            servers=servers,
            cards=max(len(pool.cards) for pool in model.pools),
        )
        shared = set(before.pools) if before is not None else set()
        for place, row in enumerate(new.pools):
            if row not in shared:
                self._pool_rows[len(self._busy)] = row
                self._busy.append(0.0)
                vacate(state, row)
            staff(state, row, model.pools[place], is_leased=is_fluid(model, place))
        self._learn_sample(state, new, known)
        state.counts[PLAN] = new.number
        state.counts[CHANGED] = 1
        self._hold(room.with_dispatches(state, max(self._widest, default=1)))

    def _kept(self) -> list[Laid]:
        """Return the plans of which something is under way, and the one in force; let go of the others."""
        slots = self._state.slots
        is_busy = (slots["coming"] > 0) | (slots["flying"] > 0) | ~slots["ended"]
        occupied = set(slots["plan"][(slots["coming"] >= 0) & is_busy].tolist())
        kept = [one for one in self._laid if one is self._laid[-1] or one.number in occupied]
        gone = [one.number for one in self._laid if one not in kept]
        room.free_slots(self._state, np.flatnonzero((slots["coming"] == 0) & np.isin(slots["plan"], gone)))
        rows = {row for one in kept for row in one.pools}
        for number, row in list(self._pool_rows.items()):
            if row not in rows:
                self._busy[number] = float(self._state.pools[row]["busy"])
                del self._pool_rows[number]
        return kept

    def _learn_sample(self, state: State, new: Laid, known: int) -> None:
        """Let each step beyond the first `known`, of which nothing is known, have run the app's sample now."""
        if not len(self._arrivals):
            return
        for station, row in zip(new.model.stations, new.learned, strict=True):
            if row >= known:
                seconds = mean_seconds(new.model, station, self._arrivals, 0)
                cost = seconds + station.hop
                state.learned[row] = (cost, cost / 2, self.now, 1.0, 0.0, seconds, seconds)


def mean_seconds(model: Model, station: Station, arrivals: Arrivals, request: int) -> float:
    """Return the mean seconds of a dispatch of one unit of a request."""
    place, rest = between(model.sizes, float(arrivals.size[request]))
    total = 0.0
    for work in station.works:
        inner = work.scope not in (station.scope, PER_REQUEST)
        units = int(arrivals.widths[request, work.scope]) if inner else 1
        low = work.total(units, place)
        total += low + (rest * (work.total(units, place + 1) - low) if rest else 0.0)
    return total


def between(sizes: Floats, size: float) -> tuple[int, float]:
    """Return the place of the size below one, and how far it is to the next, in [0, 1]."""
    if len(sizes) == 1:
        return 0, 0.0
    place = int(np.clip(np.searchsorted(sizes, size, side="right") - 1, 0, len(sizes) - 2))
    return place, float(np.clip((size - sizes[place]) / (sizes[place + 1] - sizes[place]), 0.0, 1.0))


def _step(station: Station) -> tuple[tuple[str, ...], int]:
    return station.stages, station.scope


def _free(taken: set[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _free_run(taken: list[tuple[int, int]], count: int) -> int:
    """Return the first row from which on so many are free."""
    first = 0
    for begin, end in sorted(taken):
        if begin - first >= count:
            break
        first = max(first, end)
    return first


def _pools(model: Model, before: Laid | None, taken: set[int]) -> tuple[int, ...]:
    """Return the row of each pool: that of the plan before which serves the same, or a free one."""
    rows: list[int] = []
    for place in range(len(model.pools)):
        same = [
            row
            for there, row in enumerate(before.pools if before is not None else ())
            if before is not None and is_same(before.model, there, model, place)
        ]
        rows.append(same[0] if same else _free(taken | set(rows)))
    return tuple(rows)


def _check(arrivals: Arrivals, model: Model) -> None:
    """SpecError where requests cannot be replayed under a plan."""
    lists = arrivals.widths.shape[1] if arrivals.widths.ndim == 2 else 0
    if lists != model.lists:
        raise SpecError(f"the plan maps over {model.lists} lists, and requests have widths of {lists}")
    if len(arrivals) and (arrivals.at[0] < 0 or (np.diff(arrivals.at) < 0).any()):
        raise SpecError("requests must be in the order of their arrival, from 0 s on")
    if arrivals.widths.size and not 0 <= arrivals.widths.min() <= arrivals.widths.max() < ALL:
        raise SpecError(
            f"a list has from 0 to {ALL - 1} items, not {arrivals.widths.min()} or {arrivals.widths.max()}"
        )
