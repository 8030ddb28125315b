"""The heap of what will happen, in order of time, and of equal times in the order in which it was said."""

from __future__ import annotations

from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import EVENTS, ORDER, Records


@compiled
def _is_before(heap: Records, place: int, time: float, order: int) -> bool:
    event = heap[place]
    return bool(event.time < time or (event.time == time and event.order < order))


@compiled
def plan_event(s: Memory, time: float, what: int, unit: int) -> None:
    """Have something happen at a time."""
    heap = rows.events(s)
    place = rows.counts(s)[EVENTS]
    order = rows.counts(s)[ORDER]
    rows.counts(s)[EVENTS] = place + 1
    rows.counts(s)[ORDER] = order + 1
    while place > 0:
        above = (place - 1) >> 1
        if heap[above].time <= time:  # of equal times the older goes first
            break
        heap[place] = heap[above]
        place = above
    heap[place].time = time
    heap[place].order = order
    heap[place].what = what
    heap[place].unit = unit


@compiled
def drop_first(s: Memory) -> None:
    """Take what happens next out of the heap."""
    heap = rows.events(s)
    size = rows.counts(s)[EVENTS] - 1
    rows.counts(s)[EVENTS] = size
    last = heap[size]
    time, order = last.time, last.order
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            break
        if below + 1 < size and _is_before(heap, below + 1, heap[below].time, heap[below].order):
            below += 1
        if not _is_before(heap, below, time, order):
            break
        heap[place] = heap[below]
        place = below
    heap[place] = heap[size]
