"""The engine's loop: take what happens next, until a time or until there is no room for what may follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy import model
from regrain_watchdog.simulate import (
    compiled,
    decisions,
    kernel_course,
    kernel_events,
    kernel_line,
    kernel_request,
    kernel_seconds,
    kernel_serve,
    rows,
    state,
)
from regrain_watchdog.simulate.compiled import entry
from regrain_watchdog.simulate.kernel_course import is_let_in
from regrain_watchdog.simulate.kernel_events import drop_first
from regrain_watchdog.simulate.kernel_request import begin, is_entry, let_go, station_done
from regrain_watchdog.simulate.kernel_serve import finish, pump, pump_following
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import (
    ARRIVED,
    CHANGED,
    DONE,
    EVENTS,
    FINISHED,
    FREE_SLOTS,
    ITEMS,
    KINDS,
    LINE_MARGIN,
    LONGEST,
    MARGIN,
    NEXT,
    PLAN,
    READY,
    SHED,
    TIMED,
    TIMER,
)

GOES_ON, THROUGH, MORE_EVENTS, MORE_SLOTS, MORE_LINES = 0, 1, 2, 3, 4
"""What `advance` returns but for the first: it has come to the time, or there must be more room of something first."""
INFINITE = float("inf")
MODULES = (
    model,
    compiled,
    kernel_course,
    kernel_events,
    kernel_line,
    kernel_request,
    kernel_seconds,
    kernel_serve,
    rows,
    state,
)


@compiled.compiled
def _pass(s: Memory, row: int, slot: int, now: float) -> None:
    """A request comes to a station that has nothing to do of it."""
    rows.slots(s)[slot].coming -= 1
    if not rows.slots(s)[slot].ended:
        station_done(s, slot, row, now)
        pump_following(s, row, now)
    let_go(s, slot)


@compiled.compiled
def _happens(s: Memory, what: int, unit: int, now: float) -> None:
    """Let an event of the heap happen."""
    row, kind = what // KINDS, what % KINDS
    if kind == DONE:
        rows.counts(s)[FINISHED] += 1
        pool = rows.stations(s)[rows.dispatches(s)[row].station].pool
        finish(s, row, now)
        pump(s, pool, now)
    elif kind == READY:
        _pass(s, row, unit // ITEMS, now)
    elif kind == TIMER and rows.stations(s)[row].timer == now:
        rows.counts(s)[TIMED] += 1
        rows.stations(s)[row].timer = INFINITE
        pump(s, rows.stations(s)[row].pool, now)


@compiled.compiled
def _arrive(s: Memory, now: float) -> None:
    """The next request arrives."""
    request = rows.counts(s)[NEXT]
    rows.counts(s)[NEXT] = request + 1
    rows.counts(s)[ARRIVED] += 1
    if is_let_in(s, rows.counts(s)[PLAN], now):
        begin(s, request, now)
        plan = rows.plans(s)[rows.counts(s)[PLAN]]
        for row in range(plan.first, plan.last):
            if is_entry(s, row):
                pump(s, rows.stations(s)[row].pool, now)
    else:
        rows.outcome(s)[request] = SHED
        rows.finish(s)[request] = now


@compiled.compiled
def _begin(s: Memory) -> None:
    """A plan has come into force, and with it servers that may have been waited for."""
    if rows.counts(s)[CHANGED]:
        rows.counts(s)[CHANGED] = 0
        plan = rows.plans(s)[rows.counts(s)[PLAN]]
        for row in range(plan.first, plan.last):
            pump(s, rows.stations(s)[row].pool, rows.clock(s)[0])


@compiled.compiled
def _step(s: Memory, until: float) -> int:
    """Let the next thing happen if it does before a time; return GOES_ON, or as `advance` does."""
    if rows.counts(s)[EVENTS] + rows.counts(s)[MARGIN] > len(rows.events(s)):
        return MORE_EVENTS
    if rows.counts(s)[LONGEST] + rows.counts(s)[LINE_MARGIN] >= rows.lines(s).shape[1]:
        return MORE_LINES
    _begin(s)
    coming = rows.at(s)[rows.counts(s)[NEXT]] if rows.counts(s)[NEXT] < len(rows.at(s)) else INFINITE
    is_event = rows.counts(s)[EVENTS] > 0 and rows.events(s)[0].time <= coming
    now = rows.events(s)[0].time if is_event else coming
    if now >= until:
        return THROUGH
    if not is_event:
        if rows.counts(s)[FREE_SLOTS] == 0:
            return MORE_SLOTS
        rows.clock(s)[0] = now
        _arrive(s, now)
        return GOES_ON
    what, unit = rows.events(s)[0].what, rows.events(s)[0].unit
    drop_first(s)
    rows.clock(s)[0] = now
    _happens(s, what, unit, now)
    return GOES_ON


def _make(digest: int) -> Callable[[NDArray[np.void], float], int]:
    def advance(memory: NDArray[np.void], until: float) -> int:
        """Let everything happen that does before a time; return THROUGH, or what there must be more room of."""
        if digest < 0:  # never; but so it is compiled anew where a source has changed
            return THROUGH
        s = memory[0]
        status = GOES_ON
        while status == GOES_ON:
            status = _step(s, until)
        if status == THROUGH and until < INFINITE:
            rows.clock(s)[0] = until
        return status

    return advance


advance = entry(_make(compiled.digest((*decisions.MODULES, *MODULES))))
