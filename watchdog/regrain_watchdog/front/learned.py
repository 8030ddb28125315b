"""What the front learns of a step while it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from regrain.plan import Step
from regrain.wire import frames
from regrain_watchdog.front.flight import leaves
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.policy import batch
from regrain_watchdog.policy.deadline import Estimate

ROOM_MARGIN = 1.25
"""How much more room a batch gets than the largest results so far took."""
ROOM_LIMIT = 16 << 20
"""Bytes of room that a batch gets beforehand at most. To ask for more costs little beside writing that much, and
one large result must not have every later batch hold as much."""


@dataclass(slots=True, eq=False)
class Learned:
    """What is known of a step, whichever plan runs it.

    sample: values of units that warm a replica up, taken from the app's sample (their leaves are kept).
    cost: what a unit's run and its hop take. service, unit_service: seconds that a dispatch and a unit of it take.
    unit_room: bytes that a unit's results take. is_asked: whether a request was run; until then the sample stands for
    them, which meets stages that are cold.
    """

    step: Step
    sample: list[list[frames.Parts]] = field(default_factory=list)
    cost: Estimate = field(default_factory=Estimate)
    service: float = 0.0
    unit_service: float = 0.0
    unit_room: float = 0.0
    is_asked: bool = False

    def took(self, service: float, unit_service: float, *, is_asked: bool) -> bool:
        """Learn what one more dispatch took; as the attributes. Return whether it tells anything new."""
        if self.is_asked and not is_asked:
            return False
        if is_asked and not self.is_asked:
            self.is_asked, self.service, self.unit_service, self.cost = True, 0.0, 0.0, Estimate()
        self.service = batch.smoothed(self.service, service)
        self.unit_service = batch.smoothed(self.unit_service, unit_service)
        return True

    def gave(self, unit_room: float) -> None:
        """Learn what room the results of one more dispatch took; as the attribute."""
        self.unit_room = max(self.unit_room * 0.99, unit_room)

    def room(self, units: int) -> int:
        """Return the bytes that the results of a batch are expected to need."""
        return min(int(self.unit_room * units * ROOM_MARGIN), ROOM_LIMIT)

    def keep(self, sample: list[list[frames.Parts]], pool: Pool) -> None:
        """Keep the values of the app's sample; they stay in shared memory for as long as the version lives."""
        self.sample = sample
        for values in sample:
            for parts in values:
                for leaf in leaves(parts.values):
                    pool.retain(leaf.generation)
