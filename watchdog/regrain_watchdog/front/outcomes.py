"""What comes back of a dispatch, and whether it can be: a replica runs the user's code and may say anything."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from regrain.plan import Step
from regrain.wire import frames

if TYPE_CHECKING:
    from regrain_watchdog.front.replica import Dispatch


def are_sound(dispatch: Dispatch, timings: Sequence[frames.Timing], *, abreast: int = 1) -> bool:
    """Whether timings can be true that come back with a dispatch; others would upset every mean that they enter.

    abreast: how many parts of it may have run at the same time, the seconds of which are added up.
    """
    gone, stages = (time.monotonic() - dispatch.sent) * abreast, dispatch.step.stages
    for timing in timings:
        is_time = 0.0 <= timing.seconds <= gone and 0.0 <= timing.leased <= gone
        if not (is_time and timing.count >= 0 and timing.calls >= 0 and timing.stage in stages):
            return False
    return True


def covers(given: frames.Leaf, leaf: frames.Leaf) -> bool:
    """Whether a leaf lies within one that was given."""
    return (
        given.segment == leaf.segment
        and given.generation == leaf.generation
        and given.offset <= leaf.offset
        and 0 <= leaf.nbytes <= given.offset + given.nbytes - leaf.offset
    )


def has_shape(step: Step, outcome: frames.Result | frames.Fault | frames.Answered) -> bool:
    """Whether an outcome has the shape that its step gives, and a status that HTTP knows."""
    match outcome:
        case frames.Fault():
            return True
        case frames.Answered():
            return 200 <= outcome.status <= 599
        case frames.Result():
            if len(outcome.outputs) != len(step.outputs):
                return False
            for output, parts in zip(step.outputs, outcome.outputs, strict=True):
                if parts.split != output.split or not (parts.split or len(parts.values) == 1):
                    return False
            return True


def values_of(outcome: frames.Result | frames.Fault | frames.Answered) -> list[frames.Value]:
    """Return the values that an outcome carries."""
    match outcome:
        case frames.Result():
            return [value for parts in outcome.outputs for value in parts.values]
        case frames.Answered():
            return [outcome.value]
        case frames.Fault():
            return []
