"""The engine once more, plainly: a heap of events over the policies' own objects, some hundred times as slow.

Tests hold it against the kernel event for event. It is also the place to read what the engine does.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from regrain_watchdog.policy import admit, batch, fluid
from regrain_watchdog.policy.deadline import Estimate, remaining
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Station
from regrain_watchdog.policy.shed import Entry, Line
from regrain_watchdog.simulate.engine import mean_seconds
from regrain_watchdog.simulate.layout import is_fluid, is_same
from regrain_watchdog.simulate.state import IN_TIME, LATE, SHED, UNFINISHED
from regrain_watchdog.simulate.twin_parts import (
    Crew,
    Dispatch,
    Known,
    Plan,
    Request,
    Server,
    Stop,
    Unit,
    seconds_of,
)

ALL = -1
"""In place of an item: all that a station has of the request."""


class Twin:
    """Requests on their way through a plan; as Run."""

    def __init__(self, model: Model, arrivals: Arrivals, *, seed: int = 0, max_queue: int = 1024) -> None:
        self.arrivals = arrivals
        self.now = 0.0
        self.outcome = np.full(len(arrivals), UNFINISHED, np.int8)
        self.finish = np.full(len(arrivals), np.nan)
        self.events: Counter[str] = Counter(arrivals=0, ready=0, dispatches=0, ends=0, due=0)
        self.crews: list[Crew] = []
        self._seed = seed
        self._max_queue = max_queue
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._next = 0
        self._pending: list[tuple[float, Model]] = []
        self._known: dict[tuple[tuple[str, ...], int], Known] = {}
        self._plans: list[Plan] = []
        self._employ(model)

    def advance(self, until: float = math.inf) -> None:
        """Let everything happen that does before a time."""
        while self._pending and self._pending[0][0] < until:
            at, model = self._pending.pop(0)
            self._through(at)
            self._employ(model)
            for stop in self._plans[-1].stops:
                self._pump(stop.crew)
        self._through(until)

    def change(self, model: Model, *, at: float) -> None:
        """Have a plan come into force at a time."""
        self._pending.append((at, model))

    def _through(self, until: float) -> None:
        while True:
            coming = self.arrivals.at[self._next] if self._next < len(self.arrivals) else math.inf
            is_event = bool(self._heap) and self._heap[0][0] <= coming
            now = self._heap[0][0] if is_event else coming
            if now >= until:
                break
            self.now = float(now)
            if is_event:
                heapq.heappop(self._heap)[2]()
            else:
                self._arrive()
        if until < math.inf:
            self.now = until

    def _at(self, time: float, happens: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, happens))

    def _employ(self, model: Model) -> None:
        """Bring a plan into force now."""
        self._plans = [one for one in self._plans if one is self._plans[-1] or one.is_occupied()]
        for crew in self.crews:
            crew.members = [stop for stop in crew.members if stop.plan in self._plans]
        before = self._plans[-1] if self._plans else None
        plan = Plan(model)
        crews = [self._crew(before, model, place) for place in range(len(model.pools))]
        for place, station in enumerate(model.stations):
            crew = crews[station.pool]
            stop = Stop(
                place, station, plan, crew, self._learned(model, station), Line(lambda unit: unit[0].ended)
            )
            crew.members.append(stop)
            plan.stops.append(stop)
            for parent in (plan.stops[number] for number in station.after):
                if station.scope != PER_REQUEST and parent.station.scope == station.scope:
                    parent.eaches.append(stop)
                    stop.takes_eaches += 1
                else:
                    parent.wholes.append(stop)
                    stop.takes_wholes += 1
        self._plans.append(plan)

    def _crew(self, before: Plan | None, model: Model, place: int) -> Crew:
        """Return who serves a pool: who served the same before, or somebody new."""
        pool = model.pools[place]
        found = None
        for stop in before.stops if before is not None else ():
            if found is None and is_same(stop.plan.model, stop.station.pool, model, place):
                found = stop.crew
        if found is None:
            found = Crew(pool, is_fluid(model, place))
            self.crews.append(found)
        found.staff(pool)
        return found

    def _learned(self, model: Model, station: Station) -> Known:
        """Return what is known of a station's step; where nothing is, it has run the first request's sample now."""
        step = station.stages, station.scope
        if step not in self._known:
            seconds = mean_seconds(model, station, self.arrivals, 0) if len(self.arrivals) else 0.0
            cost = seconds + station.hop
            self._known[step] = Known(Estimate(cost, cost / 2, self.now), seconds, seconds)
        return self._known[step]

    def _arrive(self) -> None:
        number, plan = self._next, self._plans[-1]
        self._next += 1
        self.events["arrivals"] += 1
        if not self._is_let_in(plan):
            self.outcome[number], self.finish[number] = SHED, self.now
            return
        request = Request(number, plan, self.now + plan.model.slo, [], [], [], len(plan.model.last))
        plan.in_flight += 1
        plan.resting += 1
        plan.requests.append(request)
        for stop in plan.stops:
            units = self._width(request, stop)
            request.left.append(units)
            request.missing.append(stop.takes_wholes + (stop.takes_eaches if units == 0 else 0))
            request.seen.append([0] * units)
        for place in plan.entries():
            self._come(request, plan.stops[place], ALL)
        for place in plan.entries():
            self._pump(plan.stops[place].crew)

    def _is_let_in(self, plan: Plan) -> bool:
        if plan.in_flight >= self._max_queue and plan.resting >= self._max_queue:
            return False
        if not any(len(stop.line) for stop in plan.stops):
            return True
        plan.look(self.now)
        entries = plan.entries()
        left = max(plan.safe[place] for place in entries)
        costs = [stop.known.cost.alone * stop.known.cost.belief(self.now) for stop in plan.stops]
        alone = max(remaining(costs, plan.after())[place] for place in entries)
        waits = [self._wait(stop) for stop in plan.stops]
        ahead = 0.0
        if any(waits):
            costs = [
                wait + stop.known.cost.mean * stop.known.cost.belief(self.now)
                for wait, stop in zip(waits, plan.stops, strict=True)
            ]
            whole = remaining(costs, plan.after())
            usual = max(plan.expected[place] for place in entries)
            ahead = max(0.0, max(whole[place] for place in entries) - usual)
        return admit.admits(ahead=ahead, left=left, alone=alone, slack=plan.model.slo, firm=False)

    def _wait(self, stop: Stop) -> float:
        serving, take = stop.crew.serving(), stop.station.take
        count = len(serving)
        is_free = not all(server.held for server in serving)
        if stop.crew.is_fluid:
            is_free = is_free and fluid.card_for(take, stop.crew.free) >= 0
            count = fluid.at_once(count, stop.crew.pool.cards, take)
        if not serving or is_free:
            return 0.0
        waiting = stop.line.ahead(priority=0, deadline=self.now + stop.plan.model.slo)
        return admit.wait(waiting, self._together(stop), count, stop.known.service)

    def _together(self, stop: Stop) -> int:
        return batch.units_together(stop.known.unit_service, max_size=stop.station.max_size)

    def _width(self, request: Request, stop: Stop) -> int:
        scope = stop.station.scope
        return 1 if scope == PER_REQUEST else int(self.arrivals.widths[request.number, scope])

    def _come(self, request: Request, stop: Stop, item: int) -> None:
        """Units of a request wait for a station from now on; where there are none, it has nothing to do."""
        self.events["ready"] += 1
        items: Sequence[int] = range(self._width(request, stop)) if item == ALL else (item,)
        if not items:
            request.coming += 1
            self._at(self.now, lambda: self._pass(request, stop))
        deadline, budget = request.deadline, stop.plan.model.slo
        for one in items:
            stop.line.push(Entry(unit=(request, one), since=self.now, deadline=deadline, budget=budget))

    def _pass(self, request: Request, stop: Stop) -> None:
        """A request comes to a station that has nothing to do of it."""
        request.coming -= 1
        if not request.ended:
            self._stop_done(request, stop)
            self._pump_following(stop)

    def _pump_following(self, stop: Stop) -> None:
        for follower in stop.followers():
            self._pump(follower.crew)

    def _unit_done(self, stop: Stop, unit: Unit) -> None:
        request, item = unit
        if stop.station.scope != PER_REQUEST:
            for follower in stop.eaches:
                seen = request.seen[follower.place]
                seen[item] += 1
                if seen[item] == follower.takes_eaches and not request.missing[follower.place]:
                    self._come(request, follower, item)
        request.left[stop.place] -= 1
        if not request.left[stop.place]:
            self._stop_done(request, stop)

    def _stop_done(self, request: Request, stop: Stop) -> None:
        """A station has done all that it has of a request."""
        for follower in stop.followers():
            if follower in stop.wholes or not self._width(request, follower):
                request.missing[follower.place] -= 1
                if not request.missing[follower.place]:
                    self._whole_came(request, follower)
        if not stop.followers():
            request.open -= 1
            if not request.open:
                at = self.now + stop.plan.model.answer
                self._end(request, IN_TIME if at <= request.deadline else LATE, at)

    def _whole_came(self, request: Request, stop: Stop) -> None:
        seen = request.seen[stop.place]
        if not stop.takes_eaches or not self._width(request, stop):
            self._come(request, stop, ALL)
            return
        for item, count in enumerate(seen):
            if count == stop.takes_eaches:
                self._come(request, stop, item)

    def _end(self, request: Request, outcome: int, at: float) -> None:
        request.ended = True
        request.plan.in_flight -= 1
        request.plan.resting -= not request.flying
        self.outcome[request.number], self.finish[request.number] = outcome, at
        for stop in request.plan.stops:
            stop.line.forget()

    def _pump(self, crew: Crew) -> None:
        """Hand out every batch that is due, as long as a server has room for it."""
        while True:
            waiting = [stop for stop in crew.members if len(stop.line)]
            if not waiting:
                return
            alone = len(waiting) == 1 and not crew.is_fluid
            may = batch.may_hold(waiting[0].known.service) if alone else 1
            server = crew.idlest(may)
            if server is None:
                return
            found, card = self._choose(crew)
            if found is None:
                return
            self._dispatch(found, self._continuing(found) or server, card)

    def _choose(self, crew: Crew) -> tuple[Stop | None, int]:
        """Return the station whose batch goes next, and on which card."""
        if len(crew.members) == 1 and not crew.is_fluid:
            return (crew.members[0] if self._is_due(crew.members[0]) else None), -1
        for stop in crew.members:
            stop.plan.look(self.now)
            expected, safe, _ = stop.left
            stop.line.settle(expected=expected, safe=safe, now=self.now)
        timely = any(stop.line.first_deadline() < math.inf for stop in crew.members)
        urgency = [self._urgency(stop, timely) for stop in crew.members]
        takes = [stop.station.take if crew.is_fluid else 0.0 for stop in crew.members]
        place, card = fluid.next_up(urgency, takes, crew.free, passes=crew.pool.passes)
        return (crew.members[place] if place >= 0 else None), card if crew.is_fluid else -1

    def _urgency(self, stop: Stop, timely: bool) -> float:
        head = stop.line.head()
        if head is None or (timely and stop.line.first_deadline() == math.inf) or not self._is_due(stop):
            return fluid.NOBODY
        return head.deadline

    def _is_due(self, stop: Stop) -> bool:
        station = stop.station
        if station.max_wait <= 0.0 or len(stop.line) >= station.max_size:
            return True
        stop.plan.look(self.now)
        when = batch.due(
            len(stop.line),
            stop.line.oldest(),
            max_size=station.max_size,
            max_wait=station.max_wait,
            now=self.now,
            latest=stop.line.first_deadline() - stop.left[2],
        )
        if when > self.now and when != stop.timer:
            stop.timer = when
            self._at(when, lambda: self._is_time(stop, when))
        return when <= self.now

    def _is_time(self, stop: Stop, when: float) -> None:
        if stop.timer == when:
            self.events["due"] += 1
            stop.timer = math.inf
            self._pump(stop.crew)

    def _continuing(self, stop: Stop) -> Server | None:
        """Return the idle server on which the request that is next has just held as much."""
        head = stop.line.head()
        if not stop.crew.is_fluid or head is None:
            return None
        request, take = head.unit[0].number, stop.station.take
        return next(
            (
                one
                for one in stop.crew.serving()
                if not one.held and (one.request, one.take) == (request, take)
            ),
            None,
        )

    def _dispatch(self, stop: Stop, server: Server, card: int) -> None:
        """Hand the next batch of a station to a server; nothing if all that waited is shed."""
        stop.plan.look(self.now)
        units = self._take(stop)
        if not units:
            return
        self.events["dispatches"] += 1
        for request, _ in units:
            request.plan.resting -= not request.flying
            request.flying += 1
        seconds = seconds_of(stop, units, self.arrivals, self._seed)
        if card >= 0:
            seconds += self._lease(stop, server, card, units[0][0].number)
        server.held += 1
        server.free_at = max(self.now + stop.station.hop, server.free_at) + seconds
        dispatch = Dispatch(stop, server, card, units, self.now, seconds)
        self._at(server.free_at, lambda: self._back(dispatch))

    def _take(self, stop: Stop) -> list[Unit]:
        """Take the next batch; end the requests of what is shed."""
        expected, safe, _ = stop.left
        taken = stop.line.take(
            self._together(stop), expected=expected, safe=safe, now=self.now, more=stop.known.cost.slope
        )
        for request, _ in taken.shed:
            if not request.ended:
                self._end(request, SHED, self.now)
        return [unit for unit, _ in taken.units if not unit[0].ended]

    def _lease(self, stop: Stop, server: Server, card: int, request: int) -> float:
        """Take a lease on a card; return the seconds until it is there."""
        crew, take = stop.crew, stop.station.take
        seconds = fluid.switching(
            crew.pool.lease,
            take=take,
            before=server.take,
            continues=server.request == request,
            others=any(len(member.line) for member in crew.members),
        )
        crew.free[card] -= take
        server.request, server.take = request, take
        return seconds

    def _back(self, dispatch: Dispatch) -> None:
        """A dispatch is back: learn from it, and let its requests go on."""
        self.events["ends"] += 1
        stop, seconds = dispatch.stop, dispatch.seconds
        dispatch.server.held -= 1
        stop.crew.busy += seconds
        if dispatch.card >= 0:
            stop.crew.free[dispatch.card] += stop.station.take
        known = stop.known
        known.service = batch.smoothed(known.service, seconds)
        known.unit_service = batch.smoothed(known.unit_service, seconds / len(dispatch.units))
        known.cost.learn(self.now - dispatch.sent, self.now, len(dispatch.units))
        for request, item in dispatch.units:
            request.flying -= 1
            if not request.ended:
                request.plan.resting += not request.flying
                self._unit_done(stop, (request, item))
        self._pump_following(stop)
        self._pump(stop.crew)
