"""Whom a replica tells what happens to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from regrain.wire import frames

if TYPE_CHECKING:
    from regrain_watchdog.front.replica import Dispatch, Replica


class Handlers(Protocol):
    """Whom a replica tells what happens to it."""

    def loaded(self, replica: Replica, frame: frames.Loaded) -> None:
        """Its resident set has changed."""

    def load_failed(self, replica: Replica, frame: frames.LoadFailed) -> None:
        """A stage could not be loaded."""

    def done(self, replica: Replica, dispatch: Dispatch, frame: frames.Done) -> None:
        """A dispatch came back."""

    def gone(self, replica: Replica, reason: str) -> None:
        """Its link is down."""

    def lasts(self, replica: Replica) -> None:
        """It has lived long enough to count as sound."""

    def others_serve(self) -> bool:
        """Whether there are replicas that serve, to which one that starts gives way."""
