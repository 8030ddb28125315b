"""The line of a station: policy/shed.py's Line as arrays, with the same decisions.

What may be in time stands in a heap by deadline and order of coming; the late stand in a ring behind it.
"""

from __future__ import annotations

from regrain_watchdog.policy.shed import Fate
from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.decisions import fate, saved, timely
from regrain_watchdog.simulate.kernel_request import end_request, let_go
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import ITEMS, SHED

GOES = Fate.GOES
INFINITE = float("inf")


@compiled
def _sink(s: Memory, row: int, place: int, size: int) -> None:
    """Put the entry at `size` at a place or below it, whichever is in order."""
    heap = rows.lines(s)[row]
    deadline, order = heap[size].deadline, heap[size].order
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        left, right = heap[below], heap[below + 1]
        if below + 1 < size and (
            right.deadline < left.deadline or (right.deadline == left.deadline and right.order < left.order)
        ):
            below += 1
        found = heap[below]
        if found.deadline > deadline or (found.deadline == deadline and found.order > order):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = heap[size]


@compiled
def _pop(s: Memory, row: int) -> int:
    """Take the most urgent unit that may be in time."""
    unit: int = rows.lines(s)[row, 0].unit
    size = rows.stations(s)[row].waiting - 1
    rows.stations(s)[row].waiting = size
    _sink(s, row, 0, size)
    return unit


@compiled
def _be_late(s: Memory, row: int) -> None:
    """Move the most urgent unit to the late ones."""
    station = rows.stations(s)[row]
    room = rows.late(s).shape[1]
    rows.late(s)[row, (station.late_first + station.late) % room] = rows.lines(s)[row, 0]
    station.late += 1
    _pop(s, row)


@compiled
def waiting(s: Memory, row: int) -> int:
    """Return how many units wait whose requests have not ended."""
    station = rows.stations(s)[row]
    if station.stale:
        station.stale = False
        _purge(s, row)
    return int(station.waiting + station.late)


@compiled
def _purge(s: Memory, row: int) -> None:
    station = rows.stations(s)[row]
    heap = rows.lines(s)[row]
    kept = 0
    for place in range(station.waiting):
        slot = heap[place].unit // ITEMS
        if rows.slots(s)[slot].ended:
            rows.slots(s)[slot].waiting -= 1
            let_go(s, slot)
        else:
            if kept != place:
                heap[kept] = heap[place]
            kept += 1
    station.waiting = kept
    for place in range(kept // 2 - 1, -1, -1):
        heap[kept] = heap[place]
        _sink(s, row, place, kept)
    room = rows.late(s).shape[1]
    late = station.late
    station.late = 0
    for place in range(late):
        entry = rows.late(s)[row, (station.late_first + place) % room]
        slot = entry.unit // ITEMS
        if rows.slots(s)[slot].ended:
            rows.slots(s)[slot].waiting -= 1
            let_go(s, slot)
        else:
            rows.late(s)[row, (station.late_first + station.late) % room] = entry
            station.late += 1


@compiled
def oldest(s: Memory, row: int) -> float:
    """Return since when the unit that waits longest does; infinity if none waits."""
    station = rows.stations(s)[row]
    since = INFINITE
    for place in range(station.waiting):
        since = min(since, rows.lines(s)[row, place].since)
    room = rows.late(s).shape[1]
    for place in range(station.late):
        since = min(since, rows.late(s)[row, (station.late_first + place) % room].since)
    return since


@compiled
def first_deadline(s: Memory, row: int) -> float:
    """Return the deadline of the unit whose turn is next; infinity where only late ones or none wait."""
    return rows.lines(s)[row, 0].deadline if rows.stations(s)[row].waiting else INFINITE


@compiled
def head(s: Memory, row: int) -> int:
    """Return the unit whose turn is next; some unit waits."""
    station = rows.stations(s)[row]
    return int(rows.lines(s)[row, 0].unit if station.waiting else rows.late(s)[row, station.late_first].unit)


@compiled
def settle(s: Memory, row: int, now: float) -> None:
    """Move units from the head of the line to the late ones until one is there that goes."""
    known = rows.learned(s)[rows.stations(s)[row].learned]
    shorter = saved(known.size, known.slope)
    expected, safe = rows.expected(s)[row] - shorter, rows.safe(s)[row] - shorter
    while rows.stations(s)[row].waiting:
        entry = rows.lines(s)[row, 0]
        slot = entry.unit // ITEMS
        if rows.slots(s)[slot].ended:
            _pop(s, row)
            rows.slots(s)[slot].waiting -= 1
            let_go(s, slot)
        elif fate(entry.deadline, False, expected, safe, now) == GOES:
            return
        else:
            _be_late(s, row)


@compiled
def take(s: Memory, row: int, dispatch: int, size: int, now: float) -> int:
    """Take the next dispatch's units into its row; return how many. What is late by as much as it had is shed."""
    units = rows.units(s)[dispatch]
    known = rows.learned(s)[rows.stations(s)[row].learned]
    count = 0
    settle(s, row, now)
    safe = rows.safe(s)[row] - saved(known.size, known.slope)
    fitting = timely(size, known.slope, first_deadline(s, row) - now - safe)
    while count < fitting:
        settle(s, row, now)
        if not rows.stations(s)[row].waiting:
            break
        units[count] = _pop(s, row)
        count += 1
    first, expired = rows.stations(s)[row].late_first, _expire(s, row, now)
    if count == 0:
        count = _take_late(s, row, units, size)
    for place in range(count):
        rows.slots(s)[units[place] // ITEMS].waiting -= 1
    room = rows.late(s).shape[1]
    for place in range(expired):
        slot = rows.late(s)[row, (first + place) % room].unit // ITEMS
        rows.slots(s)[slot].waiting -= 1
        if not rows.slots(s)[slot].ended:
            end_request(s, slot, SHED, now)
        let_go(s, slot)
    if expired == 0:
        return count
    return _still_wanted(s, units, count)


@compiled
def _expire(s: Memory, row: int, now: float) -> int:
    """Take the late that are late by as much as they had out of the ring, but for the entries; say how many."""
    station = rows.stations(s)[row]
    room = rows.late(s).shape[1]
    budget = rows.plans(s)[station.plan].slo
    count = 0
    while station.late and now > rows.late(s)[row, station.late_first].deadline + budget:
        station.late_first = (station.late_first + 1) % room
        station.late -= 1
        count += 1
    return count


@compiled
def _take_late(s: Memory, row: int, units: list[int], size: int) -> int:
    station = rows.stations(s)[row]
    room = rows.late(s).shape[1]
    count = 0
    while station.late and count < size:
        unit = rows.late(s)[row, station.late_first].unit
        station.late_first = (station.late_first + 1) % room
        station.late -= 1
        slot = unit // ITEMS
        if rows.slots(s)[slot].ended:
            rows.slots(s)[slot].waiting -= 1
            let_go(s, slot)
        else:
            units[count] = unit
            count += 1
    return count


@compiled
def _still_wanted(s: Memory, units: list[int], count: int) -> int:
    """Drop units whose requests have ended just now, since another unit of theirs was shed."""
    kept = 0
    for place in range(count):
        slot = units[place] // ITEMS
        if rows.slots(s)[slot].ended:
            let_go(s, slot)
        else:
            units[kept] = units[place]
            kept += 1
    return kept
