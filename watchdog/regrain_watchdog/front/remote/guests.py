"""Who runs a group here that another pod asks for: by version and grain, a plan in force or one made for guests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.reply import shutting_down
from regrain_watchdog.front.service import App
from regrain_watchdog.policy.epochs import Epochs

IDLE = 10.0
"""Seconds after its last guest that a plan which was made for guests ends."""
MOST = 8
"""Plans made for guests at once: of fronts that follow a change of grain late, there are one or two."""


@dataclass(slots=True)
class _Made:
    """A plan made for guests, and when the last of them came (CLOCK_MONOTONIC)."""

    app: App
    last: float


class Guests:
    """Finds plans for guests.

    Args:
        live: what is in force here.
        make: makes a plan of a grain over replicas, with none of its own; GrainError if it is none of that app's.

    Attributes:
        epochs: those whose plans are held here.
    """

    def __init__(self, live: Live, make: Callable[[Crew, str], App]) -> None:
        self.epochs = Epochs()
        self._live = live
        self._make = make
        self._made: dict[tuple[str, str], _Made] = {}
        self._sweeping: asyncio.Task[None] | None = None

    def check(self, version: str, epoch: int) -> None:
        """RequestError 409 if nothing of that version or epoch is served here, 503 if nothing is any more."""
        if self._live.current.draining:
            raise shutting_down()
        if all(app.manifest.digest != version for app in self._live.apps):
            here = self._live.manifest.digest
            raise RequestError(HTTPStatus.CONFLICT, f"version {here} is served here, not {version[:80]}")
        if not self.epochs.holds(epoch):
            detail = f"epoch {epoch} is over, {self.epochs.oldest} is the oldest that is held"
            raise RequestError(HTTPStatus.CONFLICT, detail)

    def find(self, version: str, grain: str) -> App:
        """Return the plan that runs groups of a grain, `check` having found the version served.

        GrainError if it is no grain, RequestError (409) if no plan can be made of it.
        """
        apps = [
            app for app in (self._live.current, *reversed(self._live.apps)) if app.manifest.digest == version
        ]
        for app in apps:
            if app.route.plan.grain == grain:
                return app
        made = self._made.get((version, grain))
        if made is None:
            if len(self._made) >= MOST:
                raise RequestError(
                    HTTPStatus.CONFLICT, f"{MOST} grains beside the one in force are served here"
                )
            made = self._made[version, grain] = _Made(self._make(apps[0].crew, grain), time.monotonic())
            if self._sweeping is None:
                self._sweeping = asyncio.ensure_future(self._sweep())
        made.last = time.monotonic()
        return made.app

    async def stop(self) -> None:
        """End all plans that were made for guests."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        made = list(self._made.values())
        self._made.clear()
        for one in made:
            await one.app.stop()

    async def _sweep(self) -> None:
        while self._made:
            await asyncio.sleep(IDLE / 2)
            for key, made in list(self._made.items()):
                if not made.app.in_flight and time.monotonic() - made.last >= IDLE:
                    del self._made[key]
                    await made.app.stop()
        self._sweeping = None
