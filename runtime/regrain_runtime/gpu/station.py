"""Where a replica's stages meet their GPU: each call under a lease of the device's arbiter.

What a lease means is up to what carries it out: on an emulated GPU a call is held for as long as the scenario's truth
says; on a real one it ends when the device has done all of its work.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http import HTTPStatus

from regrain.errors import RegrainError, RequestError, SpecError
from regrain.wire.frames import Entitle
from regrain.wire.lease import LeaseError
from regrain_runtime.gpu.carriers import Carrier, carrier
from regrain_runtime.gpu.client import Client

PATIENCE = 60.0
"""Seconds that a call waits for its lease, or a load for the arbiter; the front keeps the request's own deadline."""
RETRY_AFTER = {"Retry-After": "1"}


class Station:
    """The GPU of a replica, as its executor sees it (regrain.execute.Device).

    entitled: what the replica is entitled to, as the front says. carry: makes what carries its leases out.
    began: told of a call that waits for its lease anew ("", 0.0), and that goes on: its stage, seconds that it has run.
    """

    def __init__(
        self,
        entitled: Entitle,
        *,
        clock: Callable[[], float] = time.monotonic,
        carry: Callable[[Entitle, Callable[[], float]], Carrier] = carrier,
        began: Callable[[str, float], None] = lambda *_: None,
    ) -> None:
        self._clock = clock
        self._began = began
        self._waited = 0.0
        self._since = 0.0  # when the call that runs would have begun without its waits for renewals
        self._entitled = entitled
        self._client = Client(entitled.path, entitled.name, entitled.share)
        self._carrier = carry(entitled, clock)

    def moves(self, entitled: Entitle) -> bool:
        """Whether sessions that were made with `options` would not outlive a change to another share."""
        return self._carrier.moves(entitled)

    def follow(self, entitled: Entitle) -> None:
        """Take leases under another share, or for another function, from here on.

        RegrainError where the arbiter refuses it or a running process cannot change it; the old one then stays.
        """
        self._carrier.follow(entitled)
        try:
            if entitled.name != self._entitled.name:
                self._client.become(entitled.name, entitled.share)
            elif entitled.share != self._entitled.share:
                self._client.adjust(entitled.share)
        except LeaseError:
            self._carrier.follow(self._entitled)
            raise
        self._entitled = entitled

    @contextlib.contextmanager
    def loading(self, stage: str, memory: int) -> Iterator[None]:
        """Surround the building of a stage that declares so many bytes; SpecError if there is no room for them."""
        try:
            self._client.join(timeout=PATIENCE)
        except LeaseError as error:
            raise SpecError(f"stage {stage!r} needs a GPU: {error}") from error
        with self._carrier.loading(stage, memory):
            yield

    def unloaded(self, stage: str) -> None:
        """Learn that a stage is loaded no more."""
        self._carrier.unloaded(stage)

    @contextlib.contextmanager
    def running(self, stage: str, count: int) -> Iterator[None]:
        """Run a call of a stage on so many inputs under a lease; RequestError (503) if there is none to be had.

        What lasts longer than any lease is asked for as the longest: the rest of it is overuse, unless it is renewed.
        """
        asked = self._clock()
        fraction = self._fraction(stage)
        with contextlib.ExitStack() as stack:
            try:
                seconds = min(self._carrier.expected(stage, count, fraction), self._client.longest)
                waiting = partial(self._waiting, stage)
                asking = self._client.lease(fraction, seconds=seconds, timeout=PATIENCE, waiting=waiting)
                lease = stack.enter_context(asking)
                self._since = self._clock()
                self._waited += self._since - asked
                stack.enter_context(self._carrier.kernel(stage, count, lease))
                yield
                stack.close()
            except LeaseError as error:
                detail = f"stage {stage!r} has no lease of its GPU: {error}"
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE, detail, stage=stage, headers=RETRY_AFTER
                ) from error

    @contextlib.contextmanager
    def _waiting(self, stage: str) -> Iterator[None]:
        """Surround a call's wait for its lease's renewal, in which the stage does not run."""
        asked = self._clock()
        self._began("", 0.0)
        try:
            yield
        finally:
            waited = self._clock() - asked
            self._began(stage, asked - self._since)
            self._waited += waited
            self._since += waited

    def _fraction(self, stage: str) -> float:
        """Return the part of the SMs that a lease of a stage is for: all where replicas take turns."""
        if self._carrier.takes_turns():
            return 1.0
        return self._entitled.fractions.get(stage, self._entitled.fraction)

    def waited(self) -> float:
        """Return the seconds that calls have waited for leases since this was asked before."""
        waited, self._waited = self._waited, 0.0
        return waited

    def options(self) -> Mapping[str, str]:
        """Return the options of onnxruntime's CUDA provider that keep a session within the share."""
        return self._carrier.options()

    def most_held(self) -> int:
        """Return the bytes of the device held at most since this was asked before; 0 where the driver alone knows."""
        return self._carrier.most_held()

    def tend(self) -> None:
        """Have the books of an arbiter that has begun anew, too, while no call comes that would register."""
        self._client.rejoin()

    def close(self) -> None:
        """Leave the device and its arbiter."""
        self._carrier.stop()
        self._client.close()


class Refusal:
    """Stands for a GPU that cannot be had: no stage that needs one can be loaded."""

    def __init__(self, error: RegrainError) -> None:
        self._error = error

    def loading(self, stage: str, memory: int) -> contextlib.AbstractContextManager[None]:
        """Say why there is none."""
        del memory
        raise SpecError(f"stage {stage!r} needs a GPU: {self._error}")

    def unloaded(self, stage: str) -> None:
        """Do nothing: none was loaded."""

    def running(self, stage: str, count: int) -> contextlib.AbstractContextManager[None]:
        """Refuse; nothing that needs a GPU was loaded."""
        del count
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"stage {stage!r} needs a GPU: {self._error}")

    def waited(self) -> float:
        """Return 0.0."""
        return 0.0

    def options(self) -> Mapping[str, str]:
        """Return none."""
        return {}

    def tend(self) -> None:
        """Do nothing: there is nothing to look after."""
