"""Requests in flight: how they begin, which units of them are ready, and how they end."""

from __future__ import annotations

from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.kernel_events import plan_event
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import (
    ALL,
    FREE_SLOTS,
    IN_TIME,
    ITEMS,
    KINDS,
    LATE,
    LONGEST,
    ORDER,
    PLAN,
    READIED,
    READY,
)

PER_REQUEST_ = PER_REQUEST


@compiled
def let_go(s: Memory, slot: int) -> None:
    """Free the row of a request that has ended and of which nothing is under way."""
    request = rows.slots(s)[slot]
    if request.ended and request.flying == 0 and request.waiting == 0 and request.coming == 0:
        request.coming = -1
        rows.free_slots(s)[rows.counts(s)[FREE_SLOTS]] = slot
        rows.counts(s)[FREE_SLOTS] += 1


@compiled
def end_request(s: Memory, slot: int, outcome: int, at: float) -> None:
    """A request is over; its caller knows at a time."""
    request = rows.slots(s)[slot]
    plan = rows.plans(s)[request.plan]
    request.ended = True
    plan.in_flight -= 1
    if request.flying == 0:
        plan.resting -= 1
    rows.outcome(s)[request.request] = outcome
    rows.finish(s)[request.request] = at
    if request.waiting:
        for row in range(plan.first, plan.last):
            rows.stations(s)[row].stale = True


@compiled
def width(s: Memory, slot: int, row: int) -> int:
    """Return the units that a station has of a request."""
    scope = rows.stations(s)[row].scope
    return 1 if scope == PER_REQUEST_ else rows.widths(s)[rows.slots(s)[slot].request, scope]


@compiled
def is_entry(s: Memory, row: int) -> bool:
    """Whether a station takes the request itself."""
    return bool(rows.stations(s)[row].wholes + rows.stations(s)[row].eaches == 0)


@compiled
def begin(s: Memory, request: int, now: float) -> None:
    """Let a request in, under the plan in force."""
    rows.counts(s)[FREE_SLOTS] -= 1
    slot = rows.free_slots(s)[rows.counts(s)[FREE_SLOTS]]
    number = rows.counts(s)[PLAN]
    plan = rows.plans(s)[number]
    plan.in_flight += 1
    plan.resting += 1
    new = rows.slots(s)[slot]
    new.request = request
    new.plan = number
    new.deadline = now + plan.slo
    new.ended = False
    new.flying = 0
    new.waiting = 0
    new.coming = 0
    new.open = plan.ends
    for row in range(plan.first, plan.last):
        _enter(s, slot, row, row - plan.first)
    for row in range(plan.first, plan.last):
        if is_entry(s, row):
            _come(s, slot, row, ALL, now)


@compiled
def _enter(s: Memory, slot: int, row: int, place: int) -> None:
    station = rows.stations(s)[row]
    units = width(s, slot, row)
    rows.left(s)[slot, place] = units
    rows.missing(s)[slot, place] = station.wholes + (station.eaches if units == 0 else 0)
    if station.seen >= 0:
        rows.seen(s)[slot, station.seen : station.seen + units] = 0


@compiled
def _come(s: Memory, slot: int, row: int, item: int, now: float) -> None:
    """Units of a request wait for a station from now on; where there are none, it has nothing to do."""
    units = width(s, slot, row) if item == ALL else 1
    rows.counts(s)[READIED] += 1
    if units == 0:
        rows.slots(s)[slot].coming += 1
        plan_event(s, now, row * KINDS + READY, slot * ITEMS)
        return
    rows.slots(s)[slot].waiting += units
    if item != ALL:
        _push(s, row, slot * ITEMS + item, now)
    else:
        for place in range(units):
            _push(s, row, slot * ITEMS + place, now)


@compiled
def _push(s: Memory, row: int, unit: int, now: float) -> None:
    """Let a unit wait."""
    deadline = rows.slots(s)[unit // ITEMS].deadline
    order = rows.counts(s)[ORDER]
    rows.counts(s)[ORDER] = order + 1
    heap = rows.lines(s)[row]
    place = rows.stations(s)[row].waiting
    rows.stations(s)[row].waiting = place + 1
    rows.counts(s)[LONGEST] = max(rows.counts(s)[LONGEST], place + 1 + rows.stations(s)[row].late)
    while place > 0:
        above = (place - 1) >> 1
        if heap[above].deadline <= deadline:  # of equal ones the older goes first
            break
        heap[place] = heap[above]
        place = above
    heap[place].deadline = deadline
    heap[place].order = order
    heap[place].since = now
    heap[place].unit = unit


@compiled
def unit_done(s: Memory, row: int, unit: int, now: float) -> None:
    """A unit of a request that has not ended is done at a station."""
    slot, item = unit // ITEMS, unit % ITEMS
    station = rows.stations(s)[row]
    if station.scope != PER_REQUEST_:
        for place in range(station.following, station.following_end):
            if rows.following(s)[place] & 1:
                _item_came(s, slot, rows.following(s)[place] >> 1, item, now)
    first = rows.plans(s)[station.plan].first
    rows.left(s)[slot, row - first] -= 1
    if rows.left(s)[slot, row - first] == 0:
        station_done(s, slot, row, now)


@compiled
def _item_came(s: Memory, slot: int, row: int, item: int, now: float) -> None:
    """A station got one of the results that it takes for an item."""
    station = rows.stations(s)[row]
    if station.seen < 0:
        _come(s, slot, row, item, now)
        return
    rows.seen(s)[slot, station.seen + item] += 1
    is_all = rows.seen(s)[slot, station.seen + item] == station.eaches
    if is_all and rows.missing(s)[slot, row - rows.plans(s)[station.plan].first] == 0:
        _come(s, slot, row, item, now)


@compiled
def station_done(s: Memory, slot: int, row: int, now: float) -> None:
    """A station has done all that it has of a request."""
    station = rows.stations(s)[row]
    plan = rows.plans(s)[station.plan]
    for place in range(station.following, station.following_end):
        follower = rows.following(s)[place] >> 1
        is_whole = not rows.following(s)[place] & 1
        if is_whole or width(s, slot, follower) == 0:
            rows.missing(s)[slot, follower - plan.first] -= 1
            if rows.missing(s)[slot, follower - plan.first] == 0:
                _whole_came(s, slot, follower, now)
    if station.is_end:
        rows.slots(s)[slot].open -= 1
        if rows.slots(s)[slot].open == 0:
            at = now + plan.answer
            in_time = at <= rows.slots(s)[slot].deadline
            end_request(s, slot, IN_TIME if in_time else LATE, at)


@compiled
def _whole_came(s: Memory, slot: int, row: int, now: float) -> None:
    """A station got the last of the results that it takes whole."""
    station = rows.stations(s)[row]
    units = width(s, slot, row)
    if station.eaches == 0 or units == 0:
        _come(s, slot, row, ALL, now)
        return
    for item in range(units):
        if rows.seen(s)[slot, station.seen + item] == station.eaches:
            _come(s, slot, row, item, now)
