"""What a run that came back has cost: seconds as the spans of its calls, and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from regrain.wire import frames
from regrain.wire.segments import ALIGNMENT
from regrain_watchdog.front.call import Span
from regrain_watchdog.front.flight import Flight, Job, leaves
from regrain_watchdog.front.outcomes import values_of
from regrain_watchdog.front.replica import Dispatch


def totals(timings: Sequence[frames.Timing]) -> tuple[float, float]:
    """Return the seconds of service of a dispatch, and those that it waited for leases."""
    service = leased = 0.0
    for timing in timings:
        service += timing.seconds
        leased += timing.leased
    return service, leased


def waited(group: str, waits: Mapping[Flight, float]) -> None:
    """Add to each request of a dispatch the seconds that it waited for that: those of its units that waited longest."""
    told: dict[int, Span] = {}
    for flight, seconds in waits.items():
        spans = flight.call.spans
        span = told.get(id(spans))
        if span is None:
            span = told[id(spans)] = Span(group=group, stage="", seconds=seconds, kind="wait")
            spans.append(span)
        span.seconds = max(span.seconds, seconds)


def ran(dispatch: Dispatch, timings: Sequence[frames.Timing], *, leased: float, hop: float) -> None:
    """Add to each request of a dispatch what the run cost it; `leased` and `hop` in seconds, of the whole dispatch.

    Requests with as many units in it have the same spans.
    """
    group, units = dispatch.function.name, dispatch.size
    whole = [Span(group=group, stage="", seconds=leased, batch=units, kind="lease")] if leased else []
    whole.append(Span(group=group, stage="", seconds=hop, batch=units, kind="hop"))
    made: dict[int, list[Span]] = {}
    for spans, mine in _requests(dispatch.jobs):
        if mine not in made:
            made[mine] = [_service(group, timing, units, mine) for timing in timings]
        spans.extend((*made[mine], *whole))


def cut(dispatch: Dispatch, stage: str, now: float) -> None:
    """Add to each request of a dispatch that its replica has died at a stage."""
    seconds = now - dispatch.sent
    span = Span(group=dispatch.function.name, stage=stage, seconds=seconds, batch=dispatch.size, lost=True)
    for spans, _ in _requests(dispatch.jobs):
        spans.append(span)


def placed(done: frames.Done) -> int:
    """Return the bytes that a run's results took in segments, with what alignment may add."""
    return sum(leaf.nbytes + ALIGNMENT for outcome in done.outcomes for leaf in leaves(values_of(outcome)))


def _requests(jobs: Iterable[Job]) -> list[tuple[list[Span], int]]:
    """Return the spans of each request that has units in a dispatch, and how many: its calls have one list."""
    lists = [job.flight.call.spans for job in jobs]
    counts: dict[int, int] = {}
    for spans in lists:
        counts[id(spans)] = counts.get(id(spans), 0) + 1
    return [(spans, counts.pop(id(spans))) for spans in lists if id(spans) in counts]


def _service(group: str, timing: frames.Timing, units: int, mine: int) -> Span:
    """What a stage cost a request with some units in a dispatch: all of a batched call, its part of separate ones."""
    if timing.calls >= units > 1:
        return Span(group=group, stage=timing.stage, seconds=timing.seconds * mine / units)
    return Span(group=group, stage=timing.stage, seconds=timing.seconds, batch=max(1, timing.count))
