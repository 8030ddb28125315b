"""Who runs a group here that another pod asks for: by version and grain, a plan in force or one made for guests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.function import Function
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
        if next(self._serving(version), None) is None:
            here = self._live.manifest.digest
            raise RequestError(HTTPStatus.CONFLICT, f"version {here} is served here, not {version[:80]}")
        if not self.epochs.holds(epoch):
            detail = f"epoch {epoch} is over, {self.epochs.oldest} is the oldest that is held"
            raise RequestError(HTTPStatus.CONFLICT, detail)

    def find(self, version: str, grain: str, group: str) -> tuple[App, int]:
        """Return the plan and the place in it where a group of a grain runs, `check` having found the version served.

        A function that has peers is passed over: what came from another pod goes to no third one.

        Raises:
            GrainError: it is no grain of this app.
            RequestError: (409) it has no such group, or no replica here has its stages loaded, nor will have. By 409 a
                caller leaves that group alone, and not the pod.
        """
        for app in self._serving(version):
            if app.grain == grain and not app.functions[place := _place(app, group)].peers:
                break
        else:
            app = self._for_guests(next(self._serving(version)).crew, version, grain)
            place = _place(app, group)
        _check_able(app.functions[place], app.crew)
        return app, place

    def _serving(self, version: str) -> Iterator[App]:
        """Yield the plans that serve a version, the one in force first, then the newest."""
        for app in (self._live.current, *reversed(self._live.apps)):
            if app.manifest.digest == version and not app.leaving:
                yield app

    def _for_guests(self, crew: Crew, version: str, grain: str) -> App:
        made = self._made.get((version, grain))
        if made is None:
            if len(self._made) >= MOST:
                raise RequestError(
                    HTTPStatus.CONFLICT, f"{MOST} grains beside the one in force are served here"
                )
            made = self._made[version, grain] = _Made(self._make(crew, grain), time.monotonic())
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


def _place(app: App, group: str) -> int:
    """Return the place of a group in a plan; RequestError (409) if it has none of that name."""
    for place, function in enumerate(app.functions):
        if function.name == group:
            return place
    raise RequestError(HTTPStatus.CONFLICT, f"grain {app.route.plan.grain!r} has no group {group!r}")


def _check_able(function: Function, crew: Crew) -> None:
    """RequestError (409) if a function has no replicas, gets none, and no other one can serve it."""
    if not function.replicas:
        crew.cover(function)
    if not (function.replicas or function.seat.replicas):
        detail = f"no replica here has the stages of {function.name} loaded"
        raise RequestError(HTTPStatus.CONFLICT, detail)
