"""What the front learns of a step while it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from regrain.plan import Step
from regrain.wire import frames
from regrain_watchdog.policy.deadline import Estimate


@dataclass(slots=True, eq=False)
class Learned:
    """What is known of a step, whichever plan runs it.

    sample: values of units that warm a replica up, taken from the app's sample (their leaves are kept).
    cost: what a unit's run and its hop take. service, unit_service: seconds that a dispatch and a unit of it take.
    room: bytes that a unit's results take.
    """

    step: Step
    sample: list[list[frames.Parts]] = field(default_factory=list)
    cost: Estimate = field(default_factory=Estimate)
    service: float = 0.0
    unit_service: float = 0.0
    room: float = 0.0
