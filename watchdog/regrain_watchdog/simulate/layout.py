"""Lay models out as the kernel's rows: stations, works and pools, of the plan in force and of those that drain.

What does not change while the kernel runs is laid out anew at each change of plan; what moves stays in its row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station
from regrain_watchdog.simulate.state import PLANS, POOLS, STATIONS, WORKS, Floats, Integers, Records


@dataclass(slots=True, eq=False)
class Laid:
    """A plan that has rows.

    Attributes:
        model: the plan.
        number: its row among plans. first: the first of its rows among stations.
        pools: the row of each of its pools. learned: of each station, the row of what is known of it.
    """

    model: Model
    number: int
    first: int
    pools: tuple[int, ...]
    learned: tuple[int, ...]

    @property
    def last(self) -> int:
        """The row behind its stations."""
        return self.first + len(self.model.stations)


def is_fluid(model: Model, place: int) -> bool:
    """Whether the dispatches of a pool hold leases, so that not each replica has its own share."""
    pool = model.pools[place]
    members = _members(model, place)
    return len(members) > 1 or pool.cards != (float(pool.servers),) or members[0].take != 1.0


def is_same(one: Model, place: int, other: Model, there: int) -> bool:
    """Whether replicas of a plan's pool are what another plan's pool needs, so that they serve on."""
    mine, theirs = _members(one, place), _members(other, there)
    return (
        len(mine) == len(theirs)
        and all(map(_serves, mine, theirs))
        and is_fluid(one, place) == is_fluid(other, there)
        and _alike(one.pools[place], other.pools[there])
    )


def _members(model: Model, place: int) -> list[Station]:
    return [station for station in model.stations if station.pool == place]


def _alike(one: Pool, other: Pool) -> bool:
    return (one.lease, one.passes) == (other.lease, other.passes)


def _serves(one: Station, other: Station) -> bool:
    return (
        one.stages == other.stages
        and one.scope == other.scope
        and one.take == other.take
        and len(one.works) == len(other.works)
        and all(
            np.array_equal(mine.seconds, theirs.seconds)
            for mine, theirs in zip(one.works, other.works, strict=True)
        )
    )


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The rows of some plans, nothing of which has moved yet; see State for what each array holds.

    items: entries of `seen` for a request.
    """

    plans: Records
    stations: Records
    pools: Records
    works: Records
    seconds: Floats
    sizes: Floats
    following: Integers
    after: Integers
    members: Integers
    items: int


def lay_out(laid: Sequence[Laid], widest: Sequence[int]) -> Layout:
    """Return the rows of some plans.

    Args:
        laid: the plans, each with its own rows.
        widest: the most items that any request has, by list.
    """
    maker = _Maker(laid, widest)
    for one in laid:
        maker.add(one)
    return maker.made()


class _Maker:
    """Fills the arrays plan by plan."""

    def __init__(self, laid: Sequence[Laid], widest: Sequence[int]) -> None:
        rows = max(one.last for one in laid)
        self._widest = widest
        self._plans = np.zeros(max(one.number for one in laid) + 1, PLANS)
        self._stations = np.zeros(rows, STATIONS)
        self._pools = np.zeros(max(row for one in laid for row in one.pools) + 1, POOLS)
        self._after = [[-1] for _ in range(rows)]
        self._members: dict[int, list[int]] = {}
        self._works: list[tuple[int, int, int, int, float]] = []
        self._seconds: list[Floats] = []
        self._sizes: list[float] = []
        self._following: list[int] = [0]
        self._filled = 0
        self._items = 0

    def add(self, one: Laid) -> None:
        """Fill in a plan's rows."""
        model = one.model
        sizes = len(self._sizes)
        self._sizes.extend(model.sizes)
        self._plans[one.number] = (
            one.first,
            one.last,
            model.slo,
            model.answer,
            sizes,
            len(model.sizes),
            len(model.last),
            -np.inf,
            0,
            0,
        )
        followers = [_followers(model, place) for place in range(len(model.stations))]
        seen = 0
        for place, station in enumerate(model.stations):
            row = one.first + place
            self._members.setdefault(one.pools[station.pool], []).append(row)
            self._after[row] = [follower for follower, _ in followers[place]] or [-1]
            seen += self._station(one, place, followers[place], seen)
        self._items = max(self._items, seen)
        for place, row in enumerate(one.pools):
            pool = model.pools[place]
            self._pools[row] = (is_fluid(model, place), pool.passes, pool.lease, 0, 0, 0, 0, 0, 0, 0.0)

    def made(self) -> Layout:
        """Return what was filled in."""
        most = max(map(len, self._after))
        members: list[int] = []
        for row, stations in self._members.items():
            self._pools[row]["rows"], self._pools[row]["rows_end"] = (
                len(members),
                len(members) + len(stations),
            )
            members += stations
        return Layout(
            plans=self._plans,
            stations=self._stations,
            pools=self._pools,
            works=np.array(self._works, WORKS),
            seconds=np.concatenate(self._seconds),
            sizes=np.array(self._sizes),
            following=np.array(self._following, np.int64),
            after=np.array([row + [-1] * (most - len(row)) for row in self._after], np.int64),
            members=np.array(members, np.int64),
            items=self._items,
        )

    def _station(self, one: Laid, place: int, followers: Sequence[tuple[int, bool]], seen: int) -> int:
        """Fill in a station; return how many entries of `seen` a request needs for it from `seen` on."""
        station = one.model.stations[place]
        works, following = len(self._works), len(self._following)
        for work in station.works:
            self._works.append((work.stage, work.scope, self._filled, work.chunk, work.cv))
            self._seconds.append(work.seconds.ravel())
            self._filled += work.seconds.size
        self._following += [(one.first + follower) * 2 + each for follower, each in followers]
        eaches = sum(_is_each(one.model.stations[parent], station) for parent in station.after)
        wholes = len(station.after) - eaches
        counts = eaches > 1 or (eaches == 1 and wholes > 0)
        self._stations[one.first + place] = (
            one.number,
            station.scope,
            station.max_size,
            station.max_wait,
            one.pools[station.pool],
            station.take,
            station.hop,
            one.learned[place],
            works,
            len(self._works),
            following,
            len(self._following),
            wholes,
            eaches,
            seen if counts else -1,
            not followers,
            np.inf,
            False,
            0,
            0,
            0,
        )
        return self._widest[station.scope] if counts else 0


def _is_each(parent: Station, station: Station) -> bool:
    """Whether a station takes another's results item by item."""
    return station.scope != PER_REQUEST and parent.scope == station.scope


def _followers(model: Model, place: int) -> list[tuple[int, bool]]:
    """Return who takes a station's results, and whether item by item."""
    parent = model.stations[place]
    return [
        (follower, _is_each(parent, station))
        for follower, station in enumerate(model.stations)
        if place in station.after
    ]
