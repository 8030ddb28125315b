"""Carry one plan (or one version of the app) into the next, without a request noticing.

A state machine without I/O: what happened goes in as events, what is to be done comes out as instructions. It swaps the
route only once every group of the new plan has replicas that are loaded and warm; until then, and if that never comes
to be, the old plan serves. Requests end under the route they began with, so what only the old plan needs is stopped
after its last request has ended.

        begin                  all loaded           warmed up              last old request ended
    ----------> LOADING ------------------> WARMING ----------> DRAINING --------------------------> DONE
                   |                              |
                   +----------> FAILED <----------+   a start failed, the sample failed, it took too long

A plan whose groups are all served by living replicas goes from `begin` to DRAINING at once: that is a free switch.
Replicas that it is to have beyond those start behind it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Phase(enum.Enum):
    """How far a transition is."""

    LOADING = "loading"
    WARMING = "warming"
    DRAINING = "draining"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A replica that was started for a group has its stages loaded."""

    group: str
    replica: int


@dataclass(frozen=True, slots=True)
class StartFailed:
    """A replica that was started for the new plan died or could not load."""

    reason: str


@dataclass(frozen=True, slots=True)
class WarmedUp:
    """The sample has been through every group, and every new replica is warm."""


@dataclass(frozen=True, slots=True)
class WarmUpFailed:
    """The sample failed under the new plan."""

    reason: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The new plan took longer to become ready than it may."""

    reason: str


@dataclass(frozen=True, slots=True)
class Drained:
    """The last request of the old route has ended."""


Event = Loaded | StartFailed | WarmedUp | WarmUpFailed | TimedOut | Drained


@dataclass(frozen=True, slots=True)
class Start:
    """Start so many replicas for a group."""

    group: str
    count: int


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Send the sample through the new route and warm every new replica."""


@dataclass(frozen=True, slots=True)
class Swap:
    """Put the new route in force: requests that arrive from here on take it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop these replicas once they have finished what they hold."""

    replicas: frozenset[int]


@dataclass(frozen=True, slots=True)
class Abandon:
    """Stop every replica that was started for the new plan, loaded or not; the old plan stays."""

    reason: str


Instruction = Start | WarmUp | Swap | Stop | Abandon


@dataclass(slots=True)
class Transition:
    """One change from a plan to another.

    missing: by group, the replicas to be started. free: whether living replicas serve every group already, so that
    the route swaps first and the missing ones are started afterwards.
    surplus: the living replicas that the new plan does not use.
    """

    missing: Mapping[str, int]
    free: bool
    surplus: frozenset[int]
    phase: Phase = Phase.LOADING
    reason: str = ""
    _loaded: dict[str, set[int]] = field(default_factory=dict)

    def begin(self) -> list[Instruction]:
        """Return the first instructions."""
        starts: list[Instruction] = [Start(group, count) for group, count in self.missing.items()]
        if self.free:
            self.phase = Phase.DRAINING
            return [Swap(), *starts]
        return starts or self._all_loaded()

    def handle(self, event: Event) -> list[Instruction]:
        """Take an event; return what is to be done now. Events that come too late say nothing."""
        match event:
            case Loaded() if self.phase is Phase.LOADING:
                self._loaded.setdefault(event.group, set()).add(event.replica)
                return self._all_loaded()
            case StartFailed() | TimedOut() if self.phase in (Phase.LOADING, Phase.WARMING):
                return self._fail(event.reason)
            case WarmedUp() if self.phase is Phase.WARMING:
                self.phase = Phase.DRAINING
                return [Swap()]
            case WarmUpFailed() if self.phase is Phase.WARMING:
                return self._fail(event.reason)
            case Drained() if self.phase is Phase.DRAINING:
                self.phase = Phase.DONE
                return [Stop(self.surplus)] if self.surplus else []
            case _:
                return []

    def _all_loaded(self) -> list[Instruction]:
        if any(len(self._loaded.get(group, ())) < count for group, count in self.missing.items()):
            return []
        self.phase = Phase.WARMING
        return [WarmUp()]

    def _fail(self, reason: str) -> list[Instruction]:
        self.phase = Phase.FAILED
        self.reason = reason
        return [Abandon(reason)]
