"""How many items requests had of the lists that their flow maps over, as it comes out while they are served."""

from __future__ import annotations

from regrain.wire import frames
from regrain_watchdog.front.adapting.tally import Tally
from regrain_watchdog.front.flight import Flight
from regrain_watchdog.front.replica import Dispatch


def notice(tally: Tally, flight: Flight) -> None:
    """Note the lists of a request that has ended, as far as groups went through them item by item."""
    route = flight.route
    for place, count in flight.widths():
        tally.widen(flight.number, route.lists[route.steps[place].stages[0]], count)


def notice_inside(tally: Tally, dispatch: Dispatch, done: frames.Done) -> None:
    """Note the lists that a group went through inside: of requests that were dispatched together their mean."""
    if not dispatch.jobs:
        return
    walked = dispatch.jobs[0].flight.route.lists
    for timing in done.timings:
        place = walked.get(timing.stage)
        if place is None:
            continue
        whole, rest = divmod(timing.count, len(dispatch.jobs))
        for number, job in enumerate(dispatch.jobs):
            if job.flight.number >= 0:
                tally.widen(job.flight.number, place, whole + (number < rest))
