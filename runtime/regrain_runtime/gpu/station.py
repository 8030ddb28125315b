"""Where a replica's stages meet their GPU: each call under a lease of the device's arbiter.

What a lease means is up to what carries it out: on an emulated GPU a call is held for as long as the scenario's truth
says; on a real one it ends when the device has done all of its work.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from regrain.cards import PREFIX, parse_gpus
from regrain.context import context
from regrain.errors import RegrainError, RequestError, SpecError
from regrain.wire.frames import Entitle
from regrain.wire.lease import LeaseError
from regrain_runtime.emulated import scenario
from regrain_runtime.emulated.hold import hold
from regrain_runtime.emulated.truth import Truth
from regrain_runtime.gpu.client import Client, Lease

PATIENCE = 60.0
"""Seconds that a call waits for its lease at most; the request's own deadline is kept by the front."""
FIRST_GUESS = 0.05
"""Seconds that a call of a stage is taken to last before one was seen."""
GAIN = 0.25
"""Weight of the newest call in how long a stage is taken to last."""
RETRY_AFTER = {"Retry-After": "1"}


class Carrier(Protocol):
    """What carries leases out."""

    def loading(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Surround the building of a stage."""

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return the seconds that a call on so many inputs is going to take on a fraction of the SMs."""

    def kernel(self, stage: str, count: int, lease: Lease) -> contextlib.AbstractContextManager[None]:
        """Surround a call that holds its lease; when it ends, so has the call's work on the device."""


class Station:
    """The GPU of a replica, as its executor sees it (regrain.execute.Device).

    entitled: what the replica is entitled to, as the front says.
    """

    def __init__(self, entitled: Entitle, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waited = 0.0
        self._entitled = entitled
        self._client = Client(entitled.path, entitled.name, entitled.share)
        self._carrier = carrier(entitled, clock)

    def follow(self, entitled: Entitle) -> None:
        """Take leases under another share from here on; LeaseError where the arbiter refuses it."""
        before, self._entitled = self._entitled, entitled
        if entitled.share != before.share:
            self._client.adjust(entitled.share)

    def loading(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Surround the building of a stage."""
        return self._carrier.loading(stage)

    @contextlib.contextmanager
    def running(self, stage: str, count: int) -> Iterator[None]:
        """Run a call of a stage on so many inputs under a lease; RequestError (503) if there is none to be had."""
        asked = self._clock()
        fraction = self._entitled.fraction
        with contextlib.ExitStack() as stack:
            try:
                seconds = self._carrier.expected(stage, count, fraction)
                lease = stack.enter_context(self._client.lease(fraction, seconds=seconds, timeout=PATIENCE))
            except LeaseError as error:
                detail = f"stage {stage!r} has no lease of its GPU: {error}"
                raise RequestError(
                    HTTPStatus.SERVICE_UNAVAILABLE, detail, stage=stage, headers=RETRY_AFTER
                ) from error
            self._waited += self._clock() - asked
            with self._carrier.kernel(stage, count, lease):
                yield

    def waited(self) -> float:
        """Return the seconds that calls have waited for leases since this was asked before."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        """Leave the arbiter."""
        self._client.close()


class Emulated:
    """Holds each call for as long as the scenario's truth says; the call's own computing is part of that."""

    def __init__(self, entitled: Entitle, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._name = entitled.name
        found = scenario.read(Path(entitled.scenario))
        (card,) = parse_gpus(PREFIX + entitled.card)
        self._truth = Truth(found, card)
        self._call = ("", "")
        self._calls = 0

    @contextlib.contextmanager
    def loading(self, stage: str) -> Iterator[None]:
        """Take as long as loading the stage's model does."""
        began = self._clock()
        seconds = self._truth.load_seconds(stage, key=self._name)
        yield
        time.sleep(max(0.0, began + seconds - self._clock()))

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return the seconds of this very call, so that it is told from the last one."""
        call = (context().call_id, stage)
        self._calls = self._calls + 1 if call == self._call else 0
        self._call = call
        return self._seconds(stage, count, fraction)

    @contextlib.contextmanager
    def kernel(self, stage: str, count: int, lease: Lease) -> Iterator[None]:
        """Hold the lease for as long as the call takes on what was granted."""
        began = self._clock()
        seconds = self._seconds(stage, count, self._truth.card.share(lease.sms))
        yield
        hold(max(0.0, began + seconds - self._clock()))

    def _seconds(self, stage: str, count: int, share: float) -> float:
        return self._truth.seconds(stage, max(1, count), share, key=self._call[0], call=self._calls)


class Temporal:
    """One call after the other on a real GPU: a lease is over once the device has done all that was started."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lasts: dict[str, float] = {}

    def loading(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Add nothing to the building of a stage."""
        del stage
        return contextlib.nullcontext()

    def expected(self, stage: str, count: int, fraction: float) -> float:
        """Return how long the stage's calls have lasted of late."""
        del count, fraction
        return self._lasts.get(stage, FIRST_GUESS)

    @contextlib.contextmanager
    def kernel(self, stage: str, count: int, lease: Lease) -> Iterator[None]:
        """Wait for the device at the end, and learn how long it took."""
        del count, lease
        began = self._clock()
        yield
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        took = self._clock() - began
        self._lasts[stage] = took + (1 - GAIN) * (self._lasts.get(stage, took) - took)


class Refusal:
    """Stands for a GPU that cannot be had: no stage that needs one can be loaded."""

    def __init__(self, error: RegrainError) -> None:
        self._error = error

    def loading(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Say why there is none."""
        raise SpecError(f"stage {stage!r} needs a GPU: {self._error}")

    def running(self, stage: str, count: int) -> contextlib.AbstractContextManager[None]:
        """Refuse; nothing that needs a GPU was loaded."""
        del count
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, f"stage {stage!r} needs a GPU: {self._error}")

    def waited(self) -> float:
        """Return 0.0."""
        return 0.0


def carrier(entitled: Entitle, clock: Callable[[], float]) -> Carrier:
    """Return what carries a replica's leases out; SpecError for a backend that there is none of."""
    match entitled.backend:
        case "emulated":
            return Emulated(entitled, clock)
        case "lease":
            return Temporal(clock)
    raise SpecError(f"there is no GPU backend {entitled.backend!r}; there are emulated, lease")
