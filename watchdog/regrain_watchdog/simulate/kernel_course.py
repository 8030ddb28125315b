"""What the stations of a plan expect of each other, and who is let in: front/course.py over arrays."""

from __future__ import annotations

from regrain_watchdog.simulate import kernel_line as line
from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.decisions import (
    REFRESH,
    admits,
    at_once,
    belief,
    card_for,
    fill_remaining,
    safe,
    saved,
    units_together,
    wait,
)
from regrain_watchdog.simulate.kernel_request import is_entry
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import MAX_QUEUE


@compiled
def look(s: Memory, number: int, now: float) -> None:
    """Work out anew what the stations of a plan have before them, unless that was done just now."""
    plan = rows.plans(s)[number]
    if now - plan.looked <= REFRESH:
        return
    plan.looked = now
    first, last = plan.first, plan.last
    after = rows.after(s)[first:last]
    for row in range(first, last):
        known = rows.learned(s)[rows.stations(s)[row].learned]
        rows.costs(s)[row] = known.mean * belief(known.seen, now)
    fill_remaining(rows.expected(s)[first:last], rows.costs(s)[first:last], after)
    for row in range(first, last):
        known = rows.learned(s)[rows.stations(s)[row].learned]
        rows.costs(s)[row] = safe(known.mean, known.deviation) * belief(known.seen, now)
    fill_remaining(rows.safe(s)[first:last], rows.costs(s)[first:last], after)
    for row in range(first, last):
        known = rows.learned(s)[rows.stations(s)[row].learned]
        rows.costs(s)[row] = safe(known.mean, known.deviation)
    fill_remaining(rows.lasting(s)[first:last], rows.costs(s)[first:last], after)


@compiled
def is_let_in(s: Memory, number: int, now: float) -> bool:
    """Whether a request that comes now is let in to a plan."""
    plan = rows.plans(s)[number]
    if plan.in_flight >= rows.counts(s)[MAX_QUEUE] and plan.resting >= rows.counts(s)[MAX_QUEUE]:
        return False
    for row in range(plan.first, plan.last):
        if line.waiting(s, row):
            ahead, left, alone = _ahead(s, number, now)
            return admits(ahead, left, alone, plan.slo, False)
    return True


@compiled
def _ahead(s: Memory, number: int, now: float) -> tuple[float, float, float]:
    """Return the seconds that a request would wait on its way, those that it takes, and those if it goes alone."""
    plan = rows.plans(s)[number]
    first, last = plan.first, plan.last
    look(s, number, now)
    for row in range(first, last):
        known = rows.learned(s)[rows.stations(s)[row].learned]
        rows.costs(s)[row] = (known.mean - saved(known.size, known.slope)) * belief(known.seen, now)
    least = _longest(s, first, last)
    left = usual = 0.0
    waits = False
    for row in range(first, last):
        if is_entry(s, row):
            left = max(left, rows.safe(s)[row])
            usual = max(usual, rows.expected(s)[row])
        seconds = _wait(s, row)
        waits = waits or seconds > 0.0
        known = rows.learned(s)[rows.stations(s)[row].learned]
        rows.costs(s)[row] = seconds + known.mean * belief(known.seen, now)
    if not waits:
        return 0.0, left, least
    return max(0.0, _longest(s, first, last) - usual), left, least


@compiled
def _longest(s: Memory, first: int, last: int) -> float:
    """Return the seconds of the longest way through some stations, given their `costs`."""
    whole = rows.whole(s)[first:last]
    fill_remaining(whole, rows.costs(s)[first:last], rows.after(s)[first:last])
    longest = 0.0
    for row in range(first, last):
        if is_entry(s, row):
            longest = max(longest, whole[row - first])
    return longest


@compiled
def _wait(s: Memory, row: int) -> float:
    """Return the seconds until a server would be free for a unit that came now to a station."""
    station = rows.stations(s)[row]
    pool = rows.pools(s)[station.pool]
    line.waiting(s, row)
    serving = pool.serving
    is_free = pool.idle > 0
    if pool.is_fluid:
        is_free = is_free and card_for(station.take, rows.free(s)[station.pool, : pool.cards]) >= 0
        serving = at_once(serving, rows.cards(s)[station.pool, : pool.cards], station.take)
    if pool.serving == 0 or is_free:
        return 0.0
    known = rows.learned(s)[station.learned]
    timely = station.waiting  # all of them have an earlier deadline than who comes now
    return wait(timely, units_together(known.unit_service, station.max_size), serving, known.service)
