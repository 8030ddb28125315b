"""Room for what moves: arrays that become larger when the kernel asks for it, and what outlives a change of plan."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.batch import MAX_PACKED
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.simulate.layout import Laid, Layout
from regrain_watchdog.simulate.state import (
    CALLED,
    COUNTS,
    DISPATCHES,
    EVENT,
    FREE_DISPATCHES,
    FREE_SLOTS,
    LEARNED,
    LINE_MARGIN,
    MARGIN,
    MAX_QUEUE,
    PLANS,
    POOLS,
    SERVERS,
    SLOTS,
    STATIONS,
    WAITING,
    WORKS,
    State,
)

A = TypeVar("A", bound=np.generic)

EVENTS_AT_FIRST, SLOTS_AT_FIRST, LINE_AT_FIRST = 256, 256, 64
PLAN_MOVES = ("looked", "in_flight", "resting")
STATION_MOVES = ("timer", "stale", "waiting", "late", "late_first")
POOL_MOVES = ("servers", "serving", "idle", "cards", "busy")


def make_state(arrivals: Arrivals, *, seed: int, max_queue: int) -> State:
    """Return the state before any plan is in force."""
    counts = np.zeros(COUNTS, np.int64)
    counts[MAX_QUEUE] = max_queue
    floats, integers = np.zeros(0), np.zeros(0, np.int64)
    count = len(arrivals)
    return State(
        plans=np.zeros(0, PLANS),
        stations=np.zeros(0, STATIONS),
        works=np.zeros(0, WORKS),
        learned=np.zeros(0, LEARNED),
        pools=np.zeros(0, POOLS),
        seconds=floats,
        called=np.zeros(0, CALLED),
        sizes=floats,
        following=integers,
        after=np.zeros((0, 0), np.int64),
        members=integers,
        expected=floats,
        safe=floats,
        lasting=floats,
        costs=floats,
        whole=floats,
        urgency=floats,
        takes=floats,
        servers=np.zeros((0, 0), SERVERS),
        free=np.zeros((0, 0)),
        cards=np.zeros((0, 0)),
        lines=np.zeros((0, LINE_AT_FIRST), WAITING),
        late=np.zeros((0, LINE_AT_FIRST), WAITING),
        slots=np.zeros(0, SLOTS),
        left=np.zeros((0, 0), np.int32),
        missing=np.zeros((0, 0), np.int32),
        seen=np.zeros((0, 0), np.int8),
        free_slots=integers,
        free_dispatches=integers,
        events=np.zeros(EVENTS_AT_FIRST, EVENT),
        dispatches=np.zeros(0, DISPATCHES),
        units=np.zeros((0, 0), np.int64),
        at=np.ascontiguousarray(arrivals.at, np.float64),
        size=np.ascontiguousarray(arrivals.size, np.float64),
        widths=np.ascontiguousarray(arrivals.widths, np.int32),
        outcome=np.zeros(count, np.int8),
        finish=np.full(count, np.nan),
        counts=counts,
        clock=np.zeros(1),
        seed=np.array([seed], np.uint64),
    )


def replanned(
    state: State, layout: Layout, kept: list[Laid], *, learned: int, servers: int, cards: int
) -> State:
    """Return the state with other plans laid out.

    Args:
        state: as it was.
        layout: the plans' rows.
        kept: those of the plans that had rows before.
        learned: steps of which something is or will be known.
        servers: columns for those of a pool.
        cards: columns for those of a pool.
    """
    rows = np.concatenate([np.arange(one.first, one.last) for one in kept] or [np.zeros(0, np.int64)])
    _carry(state.plans, layout.plans, [one.number for one in kept], PLAN_MOVES)
    _carry(state.stations, layout.stations, rows, STATION_MOVES)
    _carry(state.pools, layout.pools, sorted({row for one in kept for row in one.pools}), POOL_MOVES)
    count, pools = len(layout.stations), len(layout.pools)
    longest = int(max(layout.plans["last"] - layout.plans["first"]))
    return state._replace(
        plans=layout.plans,
        stations=layout.stations,
        works=layout.works,
        learned=grown(state.learned, learned),
        pools=layout.pools,
        seconds=layout.seconds,
        called=np.zeros(len(layout.seconds), CALLED),
        sizes=layout.sizes,
        following=layout.following,
        after=layout.after,
        members=layout.members,
        expected=grown(state.expected, count),
        safe=grown(state.safe, count),
        lasting=grown(state.lasting, count),
        costs=np.zeros(count),
        whole=np.zeros(count),
        urgency=np.zeros(count),
        takes=np.zeros(count),
        servers=grown(state.servers, pools, servers),
        free=grown(state.free, pools, cards),
        cards=grown(state.cards, pools, cards),
        lines=grown(state.lines, count, 0),
        late=grown(state.late, count, 0),
        left=grown(state.left, 0, longest),
        missing=grown(state.missing, 0, longest),
        seen=grown(state.seen, 0, layout.items),
    )


def with_dispatches(state: State, widest: int) -> State:
    """Return the state with room for as many dispatches as its servers may hold, and for the events of each.

    widest: the most items that a list has.
    """
    units = max(MAX_PACKED, int(state.stations["max_size"].max()))
    held = 2 * int(state.pools["servers"].sum()) + 1
    before = len(state.dispatches)
    if held > before:
        spare = grown(state.free_dispatches, held)
        free = state.counts[FREE_DISPATCHES]
        spare[free : free + held - before] = np.arange(before, held)
        state.counts[FREE_DISPATCHES] += held - before
        state = state._replace(dispatches=grown(state.dispatches, held), free_dispatches=spare)
    followers = state.after.shape[1] * (widest if state.seen.shape[1] else 1)
    state.counts[LINE_MARGIN] = units * max(1, widest)
    state.counts[MARGIN] = units * followers + held + len(state.stations) + 4
    return state._replace(units=grown(state.units, held, units))


def with_events(state: State) -> State:
    """Return the state with a larger heap of events."""
    return state._replace(events=grown(state.events, 2 * len(state.events) + int(state.counts[MARGIN])))


def with_slots(state: State) -> State:
    """Return the state with room for more requests in flight."""
    before = len(state.slots)
    count = max(SLOTS_AT_FIRST, 2 * before)
    slots, spare = grown(state.slots, count), grown(state.free_slots, count)
    slots["coming"][before:] = -1
    free = state.counts[FREE_SLOTS]
    spare[free : free + count - before] = np.arange(before, count)
    state.counts[FREE_SLOTS] += count - before
    return state._replace(
        slots=slots,
        free_slots=spare,
        left=grown(state.left, count, 0),
        missing=grown(state.missing, count, 0),
        seen=grown(state.seen, count, 0),
    )


def free_slots(state: State, slots: NDArray[np.int64]) -> None:
    """Free the rows of requests that have ended, of which units wait that nobody will ask for."""
    free = state.counts[FREE_SLOTS]
    state.slots["coming"][slots] = -1
    state.free_slots[free : free + len(slots)] = slots
    state.counts[FREE_SLOTS] += len(slots)


def with_lines(state: State) -> State:
    """Return the state with room for more units to wait."""
    room = state.lines.shape[1]
    late = state.late.copy()
    for row, first in enumerate(state.stations["late_first"]):
        late[row] = np.roll(late[row], -first)
    state.stations["late_first"] = 0
    count = 2 * room + int(state.counts[LINE_MARGIN])
    return state._replace(lines=grown(state.lines, 0, count), late=grown(late, 0, count))


def grown(array: NDArray[A], *shape: int) -> NDArray[A]:
    """Return an array at least as large in each direction, with what it held and zeros beyond."""
    wanted = tuple(map(max, shape, array.shape))
    if wanted == array.shape:
        return array
    larger = np.zeros(wanted, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger


def _carry(
    old: NDArray[np.void], new: NDArray[np.void], rows: list[int] | NDArray[np.int64], names: tuple[str, ...]
) -> None:
    for name in names:
        new[name][rows] = old[name][rows]
