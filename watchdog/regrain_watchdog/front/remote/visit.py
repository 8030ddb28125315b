"""A unit of one group that a front runs for another one: to its app a call whose way ends after that group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from regrain.wire.frames import Answered, Parts, Result, Value
from regrain_watchdog.front.flight import WHOLE, Flight, Job


@dataclass(slots=True, eq=False)
class Visit(Flight):
    """A flight through the step at one place of the route.

    place: of the step. given: its inputs, one for each of `Step.inputs`, which it holds until it ends.
    outputs: what the step gave.
    """

    place: int = 0
    given: list[Parts] = field(default_factory=list)
    outputs: list[Parts] | None = None

    def job(self) -> Job:
        """Return its one job."""
        return Job(self, self.place, WHOLE, self.given)

    def finish(self, job: Job, outputs: list[Parts]) -> list[Job]:  # noqa: ARG002 - the base class' signature
        """Take what the step gave; nothing follows."""
        self.outputs = outputs
        return []

    def is_answered(self) -> bool:
        """Whether the step has run."""
        return self.outputs is not None

    def outcome(self) -> Result | Answered:
        """Return what came of it, once it has ended without an error."""
        return self.early if self.early is not None else Result(self.outputs or [])

    def held(self) -> Iterator[Value]:
        """Every value that it still holds."""
        for parts in (*self.given, *(self.outputs or ())):
            yield from parts.values
        if self.early is not None:
            yield self.early.value

    def clear(self) -> None:
        """Hold nothing any more."""
        self.given = []
        self.outputs = self.early = None
