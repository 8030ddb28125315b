"""Whom a function tells what has become of its dispatches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from regrain.errors import RequestError
from regrain.wire import frames
from regrain_watchdog.front.flight import Job
from regrain_watchdog.front.replica import Dispatch, Replica

if TYPE_CHECKING:
    from regrain_watchdog.front.remote.peer import Peer


class Owner(Protocol):
    """The app that a function belongs to."""

    def done(self, runner: Replica | Peer, dispatch: Dispatch, done: frames.Done) -> None:
        """A dispatch came back."""

    def lost(self, dispatch: Dispatch, error: RequestError) -> None:
        """A dispatch has gone with its replica, and is not tried again."""

    def refused(self, job: Job, error: RequestError) -> None:
        """A job leaves without a result."""

    def broke(self, error: Exception) -> None:
        """No replica of the function can start."""
