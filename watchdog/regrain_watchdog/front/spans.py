"""What a run that came back has cost: seconds as the spans of its calls, and bytes."""

from __future__ import annotations

from collections.abc import Sequence

from regrain.wire import frames
from regrain.wire.segments import ALIGNMENT
from regrain_watchdog.front.call import Span
from regrain_watchdog.front.flight import leaves
from regrain_watchdog.front.outcomes import values_of
from regrain_watchdog.front.replica import Dispatch


def totals(timings: Sequence[frames.Timing]) -> tuple[float, float]:
    """Return the seconds of service of a dispatch, and those that it waited for leases."""
    service = leased = 0.0
    for timing in timings:
        service += timing.seconds
        leased += timing.leased
    return service, leased


def ran(group: str, timings: Sequence[frames.Timing], *, leased: float, hop: float, units: int) -> list[Span]:
    """Return the spans of each of a dispatch's units; `leased` and `hop` in seconds, of the whole dispatch."""
    spans = [_service(group, timing, units) for timing in timings]
    if leased:
        spans.append(Span(group=group, stage="", seconds=leased, batch=units, kind="lease"))
    spans.append(Span(group=group, stage="", seconds=hop, batch=units, kind="hop"))
    return spans


def cut(dispatch: Dispatch, stage: str, now: float) -> Span:
    """Return the span of each unit of a dispatch whose replica has died at a stage."""
    seconds = now - dispatch.sent
    return Span(group=dispatch.function.name, stage=stage, seconds=seconds, batch=dispatch.size, lost=True)


def placed(done: frames.Done) -> int:
    """Return the bytes that a run's results took in segments, with what alignment may add."""
    return sum(leaf.nbytes + ALIGNMENT for outcome in done.outcomes for leaf in leaves(values_of(outcome)))


def _service(group: str, timing: frames.Timing, units: int) -> Span:
    """What a stage cost each of a dispatch's units: all of a batched call, its own part of separate ones."""
    if timing.calls >= units > 1:
        return Span(group=group, stage=timing.stage, seconds=timing.seconds / units)
    return Span(group=group, stage=timing.stage, seconds=timing.seconds, batch=max(1, timing.count))
