"""What the engine knows while it runs, as arrays: one row for a plan, a station, a pool, a request in flight and so on.

numba compiles the kernel for these types once. Rows hold records; what differs in length from row to row stands in flat
arrays beside them. Python lays plans out and makes room (layout.py, engine.py); only the kernel changes what moves.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Records = NDArray[np.void]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ITEMS: Final = 1 << 24
"""A unit is slot * ITEMS + item."""
ALL: Final = ITEMS - 1
"""In place of an item: all that a station has of the request. A list holds fewer items than this."""

UNFINISHED, IN_TIME, LATE, SHED = 0, 1, 2, 3
"""What became of a request."""

READY, DONE, TIMER = 0, 1, 2
"""Kinds of events in the heap: a station has nothing to do of a request; a dispatch is over; a batch is due."""
KINDS: Final = 4
"""An event's `what` is row * KINDS + kind; a dispatch's row where it is over, else a station's."""

NEXT, ORDER, EVENTS, FREE_SLOTS, FREE_DISPATCHES, PLAN, MAX_QUEUE = 0, 1, 2, 3, 4, 5, 6
"""Places in `counts`: the next request to arrive; numbers given to what came; length of the heap; lengths of the stacks
of free rows; the plan in force; requests of a plan that may wait for a replica at once."""
ARRIVED, READIED, DISPATCHED, FINISHED, TIMED = 8, 9, 10, 11, 12
"""Places in `counts` of how many events of each kind there were."""
MARGIN, CHANGED, LONGEST, LINE_MARGIN = 7, 13, 14, 15
"""Places in `counts`: events that one step may add at most; whether a plan has just come into force; units
that have waited in a line at most; units that one step may add to a line at most."""
COUNTS: Final = 16

PLANS = np.dtype(
    [
        ("first", "i8"),  # its stations are rows first to last, last not among them
        ("last", "i8"),
        ("slo", "f8"),
        ("answer", "f8"),
        ("sizes", "i8"),  # where its sizes begin, and how many they are
        ("n_sizes", "i8"),
        ("ends", "i8"),  # stations whose results are the answer
        ("looked", "f8"),  # when `expected` and `safe` of its stations were worked out
        ("in_flight", "i8"),
        ("resting", "i8"),  # requests in flight of which nothing is at a replica
    ]
)
STATIONS = np.dtype(
    [
        ("plan", "i8"),
        ("scope", "i8"),
        ("max_size", "i8"),
        ("max_wait", "f8"),
        ("pool", "i8"),
        ("take", "f8"),
        ("hop", "f8"),
        ("learned", "i8"),
        ("works", "i8"),  # rows of its works
        ("works_end", "i8"),
        ("following", "i8"),  # entries of `following`: who takes its results
        ("following_end", "i8"),
        ("wholes", "i8"),  # stations whose results it takes whole
        ("eaches", "i8"),  # stations whose results it takes item by item
        ("seen", "i8"),  # where its items are counted in `seen`; -1 where they need no count
        ("is_end", "b1"),
        ("timer", "f8"),  # when it is to be looked at; infinite if not
        ("stale", "b1"),  # units wait whose requests have ended
        ("waiting", "i8"),  # lengths of its line: those that may be in time, and the late
        ("late", "i8"),
        ("late_first", "i8"),
    ]
)
WORKS = np.dtype(
    [
        ("stage", "i8"),
        ("scope", "i8"),
        ("seconds", "i8"),
        ("chunk", "i8"),
        ("cv", "f8"),
    ]
)
CALLED = np.dtype([("units", "i8"), ("calls", "i8"), ("took", "f8")])
LEARNED = np.dtype(
    [
        ("mean", "f8"),
        ("deviation", "f8"),
        ("seen", "f8"),
        ("size", "f8"),
        ("slope", "f8"),
        ("service", "f8"),
        ("unit_service", "f8"),
    ]
)
POOLS = np.dtype(
    [
        ("is_fluid", "b1"),
        ("passes", "b1"),
        ("lease", "f8"),
        ("rows", "i8"),  # entries of `members`: its stations
        ("rows_end", "i8"),
        ("servers", "i8"),  # columns of `servers` that are or were in use
        ("serving", "i8"),  # servers that take dispatches
        ("idle", "i8"),  # of these, those that hold none
        ("cards", "i8"),
        ("busy", "f8"),  # seconds that its servers have worked
    ]
)
SERVERS = np.dtype([("is_open", "b1"), ("held", "i8"), ("free_at", "f8"), ("request", "i8"), ("take", "f8")])
WAITING = np.dtype([("deadline", "f8"), ("order", "i8"), ("since", "f8"), ("unit", "i8")])
SLOTS = np.dtype(
    [
        ("request", "i8"),
        ("plan", "i8"),
        ("deadline", "f8"),
        ("ended", "b1"),
        ("flying", "i8"),  # units at a replica
        ("waiting", "i8"),  # units in a line
        ("coming", "i8"),  # stations that have nothing to do of it, and are to hear so
        ("open", "i8"),  # ends of the plan that are not done
    ]
)
EVENT = np.dtype([("time", "f8"), ("order", "i8"), ("what", "i8"), ("unit", "i8")])
DISPATCHES = np.dtype(
    [
        ("station", "i8"),
        ("server", "i8"),
        ("card", "i8"),
        ("take", "f8"),
        ("count", "i8"),
        ("sent", "f8"),
        ("seconds", "f8"),
    ]
)


class State(NamedTuple):
    """Everything that the kernel reads and writes.

    Attributes:
        plans, stations, works, learned, pools: records as above.
        seconds: of calls, work after work, by units and size; `WORKS.seconds` is where a work's begin.
        called: where `seconds` has so many units (and the first size), the dispatches with as many in a call, since
            somebody asked: units in all, calls, and the seconds that they take together.
        sizes: of requests, plan after plan.
        following: stations and whether each takes whole results (row * 2) or items (row * 2 + 1).
        after: (stations, most) places in the plan of those that follow, -1 where there are fewer.
        members: stations of pools, pool after pool.
        expected, safe, lasting, costs, whole: by station, seconds to the end of a request, and room to work them out.
        urgency, takes: room for a choice among stations.
        servers: (pools, most) records. free, cards: (pools, most) shares that are free, and all of them.
        lines, late: (stations, room) what waits; `lines` are heaps, `late` are rings.
        slots: requests in flight. left, missing: (slots, stations of a plan) units not done, whole results not there.
        seen: (slots, items) results there of items that take several.
        free_slots, free_dispatches: stacks of rows.
        events: a heap. dispatches: records. units: (dispatches, most) of them.
        at, size, widths: of requests, as in Arrivals. outcome, finish: of requests, as in Result.
        counts: see the places above. clock: (1,) the time. seed: (1,).
    """

    plans: Records
    stations: Records
    works: Records
    learned: Records
    pools: Records
    seconds: Floats
    called: Records
    sizes: Floats
    following: Integers
    after: Integers
    members: Integers
    expected: Floats
    safe: Floats
    lasting: Floats
    costs: Floats
    whole: Floats
    urgency: Floats
    takes: Floats
    servers: Records
    free: Floats
    cards: Floats
    lines: Records
    late: Records
    slots: Records
    left: NDArray[np.int32]
    missing: NDArray[np.int32]
    seen: NDArray[np.int8]
    free_slots: Integers
    free_dispatches: Integers
    events: Records
    dispatches: Records
    units: Integers
    at: Floats
    size: Floats
    widths: NDArray[np.int32]
    outcome: NDArray[np.int8]
    finish: Floats
    counts: Integers
    clock: Floats
    seed: NDArray[np.uint64]
