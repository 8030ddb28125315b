"""A plan as numbers: stations where units queue, pools of replicas that serve them, and what a dispatch takes.

This is all that predictors and the simulator see of an app, a plan and a profile. `make_model` builds it; no names of
stages, no bytes and no prices are left in it but for labels.

A group is a station. Its replicas are a pool of their own: one dispatch each. A fluid group is a station per stage over
one common pool, whose dispatches hold leases of different sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain.graph import Graph, Ref
from regrain.manifest import Manifest, SLOSpec
from regrain.plan import Group, Plan, Step, steps
from regrain_watchdog.policy.profile import Profile
from regrain_watchdog.policy.service import ServiceTime

PER_REQUEST = -1
"""The scope of what happens once for a request, and not once for each item of a list."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What one stage adds to a dispatch.

    Attributes:
        stage: its place in the app's graph, by which its jitter is drawn.
        scope: PER_REQUEST, or the list of whose items each takes a unit; inside of a station of that same scope
            a unit is an item, so that it counts once.
        seconds: (max_size + 1, sizes) of a call with so many units; row 0 is 0. More units take several calls.
        cv: standard deviation of a call's time over its mean.
    """

    stage: int
    scope: int
    seconds: NDArray[np.float64]
    cv: float

    @property
    def chunk(self) -> int:
        """Units of a call at most."""
        return len(self.seconds) - 1

    def total(self, units: int, size: int = 0) -> float:
        """Return the mean seconds of so many units, in as many calls as they take; `size` is a place in sizes."""
        full, rest = divmod(units, self.chunk)
        return float(full * self.seconds[self.chunk, size] + self.seconds[rest, size])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Station:
    """Where units wait for a pool, and what a dispatch of them takes.

    Attributes:
        stages: that a dispatch runs, in order.
        after: stations whose results it takes; none for one that takes the request.
        scope: PER_REQUEST, or the list of which each item is a unit.
        works: its stages, in the order in which a dispatch runs them.
        max_size: units of a dispatch at most.
        max_wait: seconds that the first unit waits for others at most.
        pool: that serves it.
        take: what a dispatch holds of its pool's shares.
        hop: seconds that a dispatch takes beside its work, on the way to its replica and back; it holds the replica.
    """

    stages: tuple[str, ...]
    after: tuple[int, ...]
    scope: int
    works: tuple[Work, ...]
    max_size: int
    max_wait: float
    pool: int
    take: float
    hop: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Replicas that serve one station, or all of a fluid group.

    Attributes:
        servers: dispatches at once.
        cards: shares that they may hold at once, by card; a dispatch never spans cards. Where each replica has its own
            share, one entry of as much as all take.
        load: seconds until a replica more serves.
        lease: seconds by which a dispatch that takes a share is longer, unless the request before it on its replica was
            the same, took as much, and nothing else waits; 0 where each replica has its own share.
        passes: whether what fits may go before something more urgent that lacks share.
    """

    servers: int
    cards: tuple[float, ...]
    load: float = 0.0
    lease: float = 0.0
    passes: bool = False


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Model:
    """A plan of an app as numbers.

    Attributes:
        stations: in topological order.
        pools: by number.
        sizes: (sizes,) ascending; the sizes of requests for which `Work.seconds` has columns. Between them linear,
            beyond them as at the last.
        lists: how many lists the flow maps over; widths have so many columns.
        slo: seconds from arrival to answer.
        attainment: share of the requests that is to be in time.
        answer: seconds from the last station to the caller.
    """

    stations: tuple[Station, ...]
    pools: tuple[Pool, ...]
    sizes: NDArray[np.float64]
    lists: int
    slo: float
    attainment: float
    answer: float

    @property
    def last(self) -> tuple[int, ...]:
        """The stations whose results nobody takes but the caller."""
        taken = {place for station in self.stations for place in station.after}
        return tuple(place for place in range(len(self.stations)) if place not in taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """An app as the planner knows it: what it is, what it costs, and what is asked of it.

    spread: whether its groups run on pods of their own, so that each is a hop away from the front.
    """

    manifest: Manifest
    profile: Profile
    slo: SLOSpec
    spread: bool = False

    @property
    def graph(self) -> Graph:
        """Its stages and what they take."""
        return self.manifest.graph


def lists(graph: Graph) -> tuple[frozenset[Ref], ...]:
    """Return the lists that a flow maps over, in the order of the stages that walk them first.

    Widths of requests are counted in this order, in Arrivals.widths and everywhere else.
    """
    found: dict[frozenset[Ref], None] = {}
    for stage in graph.stages:
        scope = graph.scope(stage)
        if scope:
            found[scope] = None
    return tuple(found)


def make_model(app: Application, plan: Plan, times: Mapping[str, ServiceTime]) -> Model:
    """Return a plan as numbers.

    Args:
        app: whose plan it is.
        plan: its groups in an order in which they can run.
        times: the stages' service times, by name.

    Raises:
        OutOfRangeError: the plan has a batch or a share that was not measured.
    """
    return Maker(app, times).make(plan)


@dataclass(frozen=True, slots=True)
class _Part:
    """Stages that queue together: a group, or one stage of a fluid group. `pool` is the group's place in the plan."""

    stages: tuple[str, ...]
    group: Group
    pool: int
    share: float
    max_size: int
    take: float


def _parts(group: Group, pool: int) -> Iterator[_Part]:
    share = group.gpu.fraction if group.gpu is not None else 0.0
    if group.fluid is None:
        yield _Part(group.stages, group, pool, share, group.max_size, 1.0)
        return
    for lane in group.fluid.lanes:
        yield _Part((lane.stage,), group, pool, lane.fraction, lane.max_size, lane.fraction)


class Maker:
    """Makes the models of one app's plans, and remembers what each stage takes at each share: `make_model` for many."""

    def __init__(self, app: Application, times: Mapping[str, ServiceTime]) -> None:
        self._app = app
        self._times = times
        self._works: dict[tuple[str, float], Work] = {}
        self._sizes: NDArray[np.float64] = np.unique(np.concatenate([time.sizes for time in times.values()]))
        self._lists = lists(app.graph)

    def make(self, plan: Plan) -> Model:
        """Return a plan as numbers; OutOfRangeError where it has a batch or a share that was not measured."""
        parts = [part for place, group in enumerate(plan.groups) for part in _parts(group, place)]
        stations: list[Station] = []
        for part, step in zip(
            parts, steps(self._app.graph, tuple(part.stages for part in parts)), strict=True
        ):
            stations.append(self._station(part, step, stations))
        return Model(
            stations=tuple(stations),
            pools=tuple(self._pool(group) for group in plan.groups),
            sizes=self._sizes,
            lists=len(self._lists),
            slo=self._app.slo.latency,
            attainment=self._app.slo.attainment,
            answer=self._app.profile.hop.seconds + (self._travel(stations) if self._app.spread else 0.0),
        )

    def _travel(self, stations: Sequence[Station]) -> float:
        """Return the seconds between pods of the request that travels longest: each group is asked by the front.

        A hop moves what the group takes and what it gives. It holds no replica, so that it delays the answer alone.
        """
        remote, known, graph = self._app.profile.remote, self._app.profile.stages, self._app.graph
        until: list[float] = []
        for station in stations:
            moved = {*station.stages[-1:]}.union(*(graph.parents(stage) for stage in station.stages))
            moved -= {*station.stages[:-1]}
            seconds = remote.seconds + remote.per_byte * sum(known[stage].out_bytes for stage in moved)
            until.append(seconds + max((until[place] for place in station.after), default=0.0))
        return max(until)

    def _station(self, part: _Part, step: Step, before: Sequence[Station]) -> Station:
        """Return the station of some stages; `before`: those made so far, which hold all that it takes from."""
        graph = self._app.graph
        parents = frozenset[str]().union(*(graph.parents(stage) for stage in part.stages))
        after = [place for place, station in enumerate(before) if parents & set(station.stages)]
        return Station(
            stages=part.stages,
            after=tuple(after),
            scope=self._scope(part.stages[0]) if step.per_item else PER_REQUEST,
            works=tuple(self._work(stage, part) for stage in part.stages),
            max_size=part.max_size,
            max_wait=part.group.max_wait,
            pool=part.pool,
            take=part.take,
            hop=self._app.profile.hop.seconds,
        )

    def _pool(self, group: Group) -> Pool:
        """Return the replicas of a group."""
        profile = self._app.profile
        load = profile.start + sum(profile.stages[stage].load for stage in group.stages)
        if group.fluid is None:
            return Pool(servers=group.replicas, cards=(float(group.replicas),), load=load)
        whole, rest = divmod(group.fluid.share, 1.0)
        cards = (1.0,) * int(whole) + ((rest,) if rest > 0 else ())
        return Pool(
            servers=group.replicas, cards=cards, load=load, lease=profile.lease, passes=group.fluid.passes
        )

    def _scope(self, stage: str) -> int:
        scope = self._app.graph.scope(stage)
        return self._lists.index(scope) if scope else PER_REQUEST

    def _work(self, stage: str, part: _Part) -> Work:
        """Return what a stage adds: on the group's share of a GPU, or on the cores that it declares itself."""
        on_gpu = self._app.profile.stages[stage].on_gpu
        share = part.share if on_gpu else self._app.manifest.stage(stage).cpu
        if (stage, share) not in self._works:
            self._works[stage, share] = self._measured(stage, share)
        return self._works[stage, share]

    def _measured(self, stage: str, share: float) -> Work:
        spec = self._app.manifest.stage(stage)
        time = self._times[stage]
        chunk = spec.max_size if spec.batched else 1
        rows = [np.interp(self._sizes, time.sizes, time.call(units, share)) for units in range(chunk + 1)]
        place = self._app.graph.stages.index(stage)
        return Work(stage=place, scope=self._scope(stage), seconds=np.array(rows), cv=time.cv)
