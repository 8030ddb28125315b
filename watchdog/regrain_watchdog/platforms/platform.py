"""What every platform offers, and how long its drivers wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from regrain.errors import RegrainError
from regrain_watchdog.platforms.function import Function, Standing

T = TypeVar("T")


class PlatformError(RegrainError):
    """A platform did not do what it was asked, or is none."""


class UnavailableError(PlatformError):
    """A platform could not be reached or failed in a way that may pass."""


class BusyError(UnavailableError):
    """A platform has done nothing for now, and says so (503)."""


class NotThereError(PlatformError):
    """A platform has no function of this name."""


class Platform(Protocol):
    """Where functions run. Every method raises PlatformError, in bounded time, where the platform does not comply."""

    def manifests(self, function: Function) -> list[dict[str, object]]:
        """Return what `deploy` sends, without sending it; SpecError for what this platform cannot have."""

    def deploy(self, function: Function) -> None:
        """Put a function there, in place of the one of its name. It may take long until that is ready."""

    def standing(self, name: str) -> Standing:
        """Return how a function does; NotThereError."""

    def standings(self) -> list[Standing]:
        """Return how all functions do, by name."""

    def scale(self, name: str, replicas: int) -> None:
        """Want another number of replicas, until the platform's autoscaler finds another one; NotThereError."""

    def remove(self, name: str) -> None:
        """Remove a function; NotThereError."""

    def close(self) -> None:
        """Give back the connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a driver tries.

    answer: seconds that one answer may take. tries: of one request, at least one.
    pause: seconds before the second try; it doubles with each.
    """

    answer: float = 10.0
    tries: int = 4
    pause: float = 0.25

    def ask(
        self,
        request: Callable[[], T],
        sleep: Callable[[float], object] = time.sleep,
        *,
        passing: type[UnavailableError] = UnavailableError,
    ) -> T:
        """Return what a request gives, made again while it raises `passing`; that of the last one is raised."""
        for number in range(self.tries - 1):
            try:
                return request()
            except passing:
                sleep(self.pause * 2**number)
        return request()


def wait(
    platform: Platform,
    name: str,
    seconds: float,
    told: Callable[[Standing], object],
    *,
    rests: bool = False,
    period: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Standing:
    """Return a function's standing once it serves.

    Args:
        platform: where it was deployed to.
        name: of the function.
        seconds: that it may take.
        told: of every standing that differs from the one before.
        rests: whether it is well, too, with no replicas at all.
        period: seconds between two looks.
        clock: tells the seconds that `seconds` counts.
        sleep: waits for so many of them.

    Raises:
        PlatformError: it failed, or is not ready in time; what was deployed stays.
    """
    end = clock() + seconds
    before: Standing | None = None
    while True:
        standing = platform.standing(name)
        if standing != before:
            told(standing)
        before = standing
        if standing.state == "ready" or (rests and standing.state == "zero"):
            return standing
        if standing.state == "failed":
            raise PlatformError(f"{name} failed: {standing.detail or 'the platform does not say why'}")
        if clock() >= end:
            why = f": {standing.detail}" if standing.detail else ""
            raise PlatformError(f"{name} is still {standing.state} after {seconds:g} s{why}")
        sleep(period)
