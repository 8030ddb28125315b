"""What the twin of the engine works with: requests, servers, pools, stations and plans as objects.

The policies' own objects do the deciding: Line, Estimate and the functions beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from regrain_watchdog.policy.deadline import REFRESH, Estimate, remaining
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station
from regrain_watchdog.policy.shed import Line
from regrain_watchdog.simulate.engine import between

BITS = (1 << 64) - 1


@dataclass(slots=True, eq=False)
class Request:
    """A request in flight. left, missing, seen: by station of its plan, as the kernel's State has them."""

    number: int
    plan: Plan
    deadline: float
    left: list[int]
    missing: list[int]
    seen: list[list[int]]
    open: int
    ended: bool = False
    flying: int = 0
    coming: int = 0


Unit = tuple[Request, int]
"""A request and an item of a list; item 0 where the unit is the whole request."""


@dataclass(slots=True, eq=False)
class Known:
    """What is known of a step."""

    cost: Estimate
    service: float
    unit_service: float


@dataclass(slots=True, eq=False)
class Server:
    """A replica. request, take: of the dispatch that held a lease last."""

    is_open: bool = True
    held: int = 0
    free_at: float = 0.0
    request: int = -1
    take: float = -1.0


@dataclass(slots=True, eq=False)
class Crew:
    """A pool at work. cards, free: the shares that there are, and of them those that nobody holds."""

    pool: Pool
    is_fluid: bool
    servers: list[Server] = field(default_factory=list)
    members: list[Stop] = field(default_factory=list)
    cards: list[float] = field(default_factory=list)
    free: list[float] = field(default_factory=list)
    busy: float = 0.0

    def serving(self) -> list[Server]:
        """The servers that take dispatches."""
        return [server for server in self.servers if server.is_open]

    def idlest(self, may: int) -> Server | None:
        """Return the server that holds least, if it may hold one more."""
        return min(
            (server for server in self.servers if server.is_open and server.held < may),
            key=lambda server: server.held,
            default=None,
        )

    def staff(self, pool: Pool) -> None:
        """Have as many servers and cards as a plan says."""
        self.pool = pool
        for place in range(max(len(pool.cards), len(self.cards))):
            share = pool.cards[place] if place < len(pool.cards) else 0.0
            if place == len(self.cards):
                self.cards.append(0.0)
                self.free.append(0.0)
            self.free[place] += share - self.cards[place]
            self.cards[place] = share
        while len(self.serving()) < pool.servers:
            closed = next((server for server in self.servers if not server.is_open), None)
            if closed is None:
                self.servers.append(Server())
            else:
                closed.is_open = True
        while len(self.serving()) > pool.servers:
            min(self.serving(), key=lambda server: server.held).is_open = False


@dataclass(slots=True, eq=False)
class Stop:
    """A station at work."""

    place: int
    station: Station
    plan: Plan
    crew: Crew
    known: Known
    line: Line[Unit]
    wholes: list[Stop] = field(default_factory=list)
    eaches: list[Stop] = field(default_factory=list)
    takes_wholes: int = 0
    takes_eaches: int = 0
    timer: float = math.inf

    def followers(self) -> list[Stop]:
        """The stations that take its results."""
        return [other for other in self.plan.stops if other in self.wholes or other in self.eaches]

    @property
    def left(self) -> tuple[float, float, float]:
        """Seconds from here to the end of a request: as Course.left of the front."""
        plan, place, saved = self.plan, self.place, self.known.cost.saved
        return plan.expected[place] - saved, plan.safe[place] - saved, plan.lasting[place]


@dataclass(slots=True, eq=False)
class Plan:
    """A plan at work. requests: all that began under it."""

    model: Model
    stops: list[Stop] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)
    safe: list[float] = field(default_factory=list)
    lasting: list[float] = field(default_factory=list)
    looked: float = -math.inf
    in_flight: int = 0
    resting: int = 0
    requests: list[Request] = field(default_factory=list)

    def is_occupied(self) -> bool:
        """Whether something of a request is under way."""
        return any(not one.ended or one.flying or one.coming for one in self.requests)

    def after(self) -> list[list[int]]:
        """By station, those that take its results."""
        return [
            [other.place for other in self.stops if stop.place in other.station.after] for stop in self.stops
        ]

    def entries(self) -> list[int]:
        """The stations that take the request itself."""
        return [stop.place for stop in self.stops if not stop.station.after]

    def look(self, now: float) -> None:
        """Work out anew what each station has before it, unless that was done just now."""
        if now - self.looked > REFRESH:
            self.looked = now
            costs = [stop.known.cost for stop in self.stops]
            beliefs = [cost.belief(now) for cost in costs]
            pairs = list(zip(costs, beliefs, strict=True))
            self.expected = remaining([cost.mean * belief for cost, belief in pairs], self.after())
            self.lasting = remaining([cost.safe for cost in costs], self.after())
            self.safe = remaining([cost.safe * belief for cost, belief in pairs], self.after())


@dataclass(slots=True, eq=False)
class Dispatch:
    """Units at a server."""

    stop: Stop
    server: Server
    card: int
    units: list[Unit]
    sent: float
    seconds: float


def seconds_of(stop: Stop, units: Sequence[Unit], arrivals: Arrivals, seed: int) -> float:
    """Return how long units take together: the works of their station, each with its jitter."""
    station = stop.station
    requests = [request.number for request, _ in units]
    sizes = stop.plan.model.sizes
    place, rest = between(sizes, math.fsum(arrivals.size[requests]) / len(requests))
    item = units[0][1] if station.scope >= 0 else 0
    total = 0.0
    for work in station.works:
        todo = len(units)
        if work.scope not in (station.scope, PER_REQUEST):
            todo = int(arrivals.widths[requests, work.scope].sum())
        if todo:
            mean = work.total(todo, place)
            if rest > 0.0:
                mean += rest * (work.total(todo, place + 1) - mean)
            cv = work.cv / math.sqrt(-(-todo // work.chunk))
            total += mean * (jitter(seed, requests[0], work.stage, item, cv) if cv > 0.0 else 1.0)
    return total


def jitter(seed: int, request: int, stage: int, item: int, cv: float) -> float:
    """Return a lognormal of mean 1 and a standard deviation of `cv`, the same for the same numbers."""
    bits = _mix(seed + 0x9E3779B97F4A7C15 * (request + 1))
    bits = _mix(bits + 0xD6E8FEB86659FD93 * (stage + 1) + 0xA0761D6478BD642F * item)
    radius = math.sqrt(-2.0 * math.log(((bits >> 11) + 0.5) * 2.0**-53))
    angle = (_mix(bits + 0x9E3779B97F4A7C15) >> 11) * 2.0**-53
    variance = math.log1p(cv * cv)
    return math.exp(math.sqrt(variance) * radius * math.cos(2.0 * math.pi * angle) - 0.5 * variance)


def _mix(bits: int) -> int:
    bits &= BITS
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & BITS
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & BITS
    return bits ^ (bits >> 31)
