"""Pools at work: which station's batch goes next, on which server, and what is learned when it is back."""

from __future__ import annotations

from regrain_watchdog.policy.fluid import NOBODY
from regrain_watchdog.simulate import kernel_line as line
from regrain_watchdog.simulate import rows
from regrain_watchdog.simulate.compiled import compiled
from regrain_watchdog.simulate.decisions import (
    due,
    learned,
    may_hold,
    next_up,
    smoothed,
    switching,
    units_together,
)
from regrain_watchdog.simulate.kernel_course import look
from regrain_watchdog.simulate.kernel_events import plan_event
from regrain_watchdog.simulate.kernel_request import let_go, unit_done
from regrain_watchdog.simulate.kernel_seconds import dispatch_seconds
from regrain_watchdog.simulate.rows import Memory
from regrain_watchdog.simulate.state import (
    DISPATCHED,
    DONE,
    FREE_DISPATCHES,
    ITEMS,
    KINDS,
    TIMER,
)


@compiled
def pump(s: Memory, pool: int, now: float) -> None:
    """Hand out every batch that is due, as long as a server has room for it."""
    if rows.pools(s)[pool].is_fluid or rows.pools(s)[pool].rows_end - rows.pools(s)[pool].rows > 1:
        _pump_shared(s, pool, now)
        return
    row = rows.members(s)[rows.pools(s)[pool].rows]
    while line.waiting(s, row):
        server = _idlest(s, pool, may_hold(rows.learned(s)[rows.stations(s)[row].learned].service))
        if server < 0 or not _is_due(s, row, now):
            return
        _dispatch(s, row, server, -1, now)


@compiled
def pump_following(s: Memory, row: int, now: float) -> None:
    """Hand out what a station's results let go."""
    for place in range(rows.stations(s)[row].following, rows.stations(s)[row].following_end):
        pump(s, rows.stations(s)[rows.following(s)[place] >> 1].pool, now)


@compiled
def _pump_shared(s: Memory, pool: int, now: float) -> None:
    """As pump, for a pool of several stations."""
    while True:
        held = _may_hold_shared(s, pool)
        if held == 0 or _idlest(s, pool, held) < 0:
            return
        row, card = _choose(s, pool, now)
        if row < 0:
            return
        server = _continuing(s, pool, row)
        if server < 0:
            server = _idlest(s, pool, held)
        _dispatch(s, row, server, card, now)


@compiled
def _may_hold_shared(s: Memory, pool: int) -> int:
    """Return how many dispatches a server may hold: none go behind others while several stations wait, or on leases."""
    held = 0
    for place in range(rows.pools(s)[pool].rows, rows.pools(s)[pool].rows_end):
        row = rows.members(s)[place]
        if line.waiting(s, row):
            if held or rows.pools(s)[pool].is_fluid:
                return 1
            held = may_hold(rows.learned(s)[rows.stations(s)[row].learned].service)
    return held


@compiled
def _choose(s: Memory, pool: int, now: float) -> tuple[int, int]:
    """Return the station whose batch goes next, and on which card (-1 in an ordinary pool); (-1, -1) if none does."""
    first, last = rows.pools(s)[pool].rows, rows.pools(s)[pool].rows_end
    is_fluid = rows.pools(s)[pool].is_fluid
    timely = False
    for place in range(first, last):
        row = rows.members(s)[place]
        look(s, rows.stations(s)[row].plan, now)
        line.settle(s, row, now)
        timely = timely or rows.stations(s)[row].waiting > 0
    for place in range(first, last):
        row = rows.members(s)[place]
        urgency = NOBODY
        if (rows.stations(s)[row].waiting if timely else line.waiting(s, row)) and _is_due(s, row, now):
            urgency = rows.slots(s)[line.head(s, row) // ITEMS].deadline
        rows.urgency(s)[place - first] = urgency
        rows.takes(s)[place - first] = rows.stations(s)[row].take if is_fluid else 0.0
    count = last - first
    cards = rows.pools(s)[pool].cards
    found, card = next_up(
        rows.urgency(s)[:count],
        rows.takes(s)[:count],
        rows.free(s)[pool, :cards],
        rows.pools(s)[pool].passes,
    )
    return (rows.members(s)[first + found], card if is_fluid else -1) if found >= 0 else (-1, -1)


@compiled
def _is_due(s: Memory, row: int, now: float) -> bool:
    """Whether the next batch of a station goes; if not, it is looked at again when it does."""
    station = rows.stations(s)[row]
    waits = line.waiting(s, row)
    if station.max_wait <= 0.0 or waits >= station.max_size:
        return True
    look(s, station.plan, now)
    latest = line.first_deadline(s, row) - rows.lasting(s)[row]
    when = due(waits, line.oldest(s, row), station.max_size, station.max_wait, now, latest)
    if when > now and when != station.timer:
        station.timer = when
        plan_event(s, when, row * KINDS + TIMER, 0)
    return when <= now


@compiled
def _idlest(s: Memory, pool: int, may: int) -> int:
    """Return the server that holds least, if it may hold one more; else -1."""
    best, least = -1, may
    for server in range(rows.pools(s)[pool].servers):
        one = rows.servers(s)[pool, server]
        if one.is_open and one.held < least:
            if one.held == 0:
                return server
            best, least = server, one.held
    return best


@compiled
def _continuing(s: Memory, pool: int, row: int) -> int:
    """Return the idle server on which the request that is next has just held as much; -1 if there is none."""
    if not rows.pools(s)[pool].is_fluid:
        return -1
    request = rows.slots(s)[line.head(s, row) // ITEMS].request
    for server in range(rows.pools(s)[pool].servers):
        one = rows.servers(s)[pool, server]
        if (
            one.is_open
            and one.held == 0
            and one.request == request
            and one.take == rows.stations(s)[row].take
        ):
            return server
    return -1


@compiled
def _dispatch(s: Memory, row: int, server: int, card: int, now: float) -> None:
    """Hand the next batch of a station to a server; nothing if all that waited is shed."""
    station = rows.stations(s)[row]
    look(s, station.plan, now)
    number = rows.free_dispatches(s)[rows.counts(s)[FREE_DISPATCHES] - 1]
    size = units_together(rows.learned(s)[station.learned].unit_service, station.max_size)
    count = line.take(s, row, number, size, now)
    if count == 0:
        return
    units = rows.units(s)[number]
    rows.counts(s)[FREE_DISPATCHES] -= 1
    rows.counts(s)[DISPATCHED] += 1
    for place in range(count):
        slot = rows.slots(s)[units[place] // ITEMS]
        if slot.flying == 0:
            rows.plans(s)[slot.plan].resting -= 1
        slot.flying += 1
    seconds = dispatch_seconds(s, row, units, count)
    if card >= 0:
        seconds += _lease(s, row, server, card, rows.slots(s)[units[0] // ITEMS].request)
    one = rows.servers(s)[station.pool, server]
    if one.held == 0:
        rows.pools(s)[station.pool].idle -= 1
    one.held += 1
    one.free_at = max(now + station.hop, one.free_at) + seconds
    sent = rows.dispatches(s)[number]
    sent.station = row
    sent.server = server
    sent.card = card
    sent.take = station.take
    sent.count = count
    sent.sent = now
    sent.seconds = seconds
    plan_event(s, one.free_at, number * KINDS + DONE, 0)


@compiled
def _lease(s: Memory, row: int, server: int, card: int, request: int) -> float:
    """Take a lease on a card; return the seconds until it is there."""
    station = rows.stations(s)[row]
    pool = rows.pools(s)[station.pool]
    others = False
    for place in range(pool.rows, pool.rows_end):
        others = others or line.waiting(s, rows.members(s)[place]) > 0
    one = rows.servers(s)[station.pool, server]
    seconds = switching(pool.lease, station.take, one.take, one.request == request, others)
    rows.free(s)[station.pool, card] -= station.take
    one.request = request
    one.take = station.take
    return seconds


@compiled
def finish(s: Memory, number: int, now: float) -> None:
    """A dispatch is back: learn from it, and let its requests go on."""
    sent = rows.dispatches(s)[number]
    row = sent.station
    station = rows.stations(s)[row]
    pool = rows.pools(s)[station.pool]
    one = rows.servers(s)[station.pool, sent.server]
    one.held -= 1
    if one.held == 0 and one.is_open:
        pool.idle += 1
    pool.busy += sent.seconds
    if sent.card >= 0:
        rows.free(s)[station.pool, sent.card] += sent.take
    known = rows.learned(s)[station.learned]
    known.service = smoothed(known.service, sent.seconds, 0.1)
    known.unit_service = smoothed(known.unit_service, sent.seconds / sent.count, 0.1)
    known.mean, known.deviation, known.size, known.slope = learned(
        known.mean, known.deviation, known.size, known.slope, now - sent.sent, sent.count
    )
    known.seen = now
    for place in range(sent.count):
        _unit_back(s, row, rows.units(s)[number, place], now)
    pump_following(s, row, now)
    rows.free_dispatches(s)[rows.counts(s)[FREE_DISPATCHES]] = number
    rows.counts(s)[FREE_DISPATCHES] += 1


@compiled
def _unit_back(s: Memory, row: int, unit: int, now: float) -> None:
    slot = unit // ITEMS
    request = rows.slots(s)[slot]
    request.flying -= 1
    if request.ended:
        let_go(s, slot)
        return
    if request.flying == 0:
        rows.plans(s)[request.plan].resting += 1
    unit_done(s, row, unit, now)
    let_go(s, slot)
