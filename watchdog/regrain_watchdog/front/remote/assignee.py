"""What the controller tells a pod: which groups it runs from now on, why, and when those before it are over."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from regrain import manifest
from regrain.errors import RegrainError, RequestError, SpecError
from regrain.grain import JOIN
from regrain_watchdog.front.adapting.course import Course
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.remote.guests import Guests
from regrain_watchdog.front.remote.watcher import Watcher
from regrain_watchdog.policy.assignment import Assignment, Standing
from regrain_watchdog.policy.epochs import StaleError

if TYPE_CHECKING:
    from regrain_watchdog.front.changes import Changes

logger = logging.getLogger(__name__)

ASSIGN, RELEASE, MANIFEST = "/_/assign", "/_/release", "/_/manifest"
WATCH, WHY = "/_/watch", "/_/why"
_encode = msgspec.json.Encoder().encode


class Assign(Struct, frozen=True):
    """An assignment, and which of its pods is told: by the URL under which the others know it."""

    assignment: Assignment
    pod: str


class Release(Struct, frozen=True):
    """No request of an epoch before this one is under way."""

    epoch: int


class Assignee:
    """Carries out what a controller says, and tells how the pod stands."""

    def __init__(self, live: Live, changes: Changes, guests: Guests, watcher: Watcher) -> None:
        self._live = live
        self._watcher = watcher
        self._assignment: Assignment | None = None
        self._changes = changes
        self._guests = guests
        self._course: Course | None = None

    def why(self) -> bytes | None:
        """Return what a controller said of its last decision, as `Course.why`; None where none adapts the plan."""
        return self._course.why() if self._course is not None else None

    @property
    def decision(self) -> int:
        """The number of the decision that a controller told of last; 0 before the first."""
        return self._course.number if self._course is not None else 0

    @property
    def heard(self) -> int:
        """How many decisions a controller has told of."""
        return self._course.heard if self._course is not None else 0

    async def answer(self, method: str, path: str, body: bytes) -> bytes:
        """Answer a controller's request; RequestError where it cannot be done, 409 for a stale epoch."""
        if path == WATCH:
            self._course = self._course or Course()
            return self._watcher.watched()
        if method == "GET":
            return manifest.dumps(self._live.manifest) if path == MANIFEST else self._standing()
        try:
            if path == RELEASE:
                self._release(msgspec.json.decode(body, type=Release).epoch)
            elif path == WHY:
                self._course = self._course or Course()
                self._course.add(body, time.time())
                self._watcher.counts.predicted = self._course.predicted
            else:
                await self._assign(msgspec.json.decode(body, type=Assign))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, f"not what a controller says: {error}") from error
        except StaleError as error:
            raise RequestError(HTTPStatus.CONFLICT, str(error)) from error
        except SpecError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
        return self._standing()

    async def _assign(self, told: Assign) -> None:
        """Put an assignment in force, and keep what was before for requests of others until it is released."""
        wanted, guests, here = told.assignment, self._guests, self._live.manifest.digest
        if wanted.version != here:
            raise RequestError(
                HTTPStatus.CONFLICT, f"version {here} is served here, not {wanted.version[:80]}"
            )
        epochs = guests.epochs.assigned(wanted.epoch)
        if epochs == guests.epochs:
            return
        homes = {
            stage: tuple(pod for pod in pods if pod != told.pod) if told.pod not in pods else ()
            for group, pods in wanted.homes.items()
            for stage in group.split(JOIN)
        }
        own = [group for group, pods in wanted.homes.items() if told.pod in pods]
        replicas = ",".join(f"{group}={wanted.replicas.get(group, 1)}" for group in own)
        self._end_old()
        await self._live.drained()
        counts = self._watcher.counts
        try:
            await self._changes.assign(wanted.grain, replicas, homes, wanted.groups)
        except RegrainError:
            counts.refused += 1
            raise
        counts.adopted += 1
        guests.epochs, self._assignment = epochs, wanted
        if not wanted.groups:
            self._course = None  # what was decided before is over
            self._watcher.forget()
        logger.info("epoch %d is in force: %s runs here", wanted.epoch, ", ".join(own) or "no group")

    def _release(self, epoch: int) -> None:
        self._guests.epochs = self._guests.epochs.released(epoch)
        if self._guests.epochs.oldest == self._guests.epochs.current:
            self._end_old()

    def _end_old(self) -> None:
        for app in self._live.apps:
            app.linger(on=False)

    def _standing(self) -> bytes:
        live, epochs = self._live, self._guests.epochs
        return _encode(
            Standing(
                version=live.manifest.digest,
                epoch=epochs.current,
                oldest=epochs.oldest,
                grain=live.current.route.plan.grain,
                ready=not live.unready(),
                draining=live.current.draining,
                ending=sum(app.in_flight for app in live.apps if app is not live.current),
                decision=self.decision,
                assignment=self._assignment,
            )
        )
