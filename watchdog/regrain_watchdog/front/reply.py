"""What stands between a call and its values: parameters as the flow walks them, failures as the caller hears them.

Plain functions, so that the service says only what happens when.
"""

from __future__ import annotations

from http import HTTPStatus

from regrain.errors import RequestError
from regrain.graph import Ref
from regrain.headers import sendable
from regrain.wire import frames
from regrain_watchdog.front.outcomes import values_of
from regrain_watchdog.front.segments import Pool

RETRY_AFTER = {"Retry-After": "1"}
"""For refusals that another try may not meet; seconds."""


class Copies:
    """Reads values for a reply: what it gives stays good after the extent is used again."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def view(self, segment: int, offset: int, nbytes: int) -> memoryview:
        """Return a copy of these bytes."""
        return memoryview(bytes(self._pool.view(segment, offset, nbytes)))


def failure(fault: frames.Fault) -> RequestError:
    """Return a unit's failure as the caller's; what is no error's status, or no header of one, is not believed."""
    known = fault.status >= HTTPStatus.BAD_REQUEST and fault.status in HTTPStatus.__members__.values()
    status = HTTPStatus(fault.status) if known else HTTPStatus.INTERNAL_SERVER_ERROR
    headers = sendable(fault.headers)
    if status is HTTPStatus.SERVICE_UNAVAILABLE and "retry-after" not in headers:
        headers |= RETRY_AFTER
    return RequestError(status, fault.detail, stage=fault.stage, headers=headers)


def references(done: frames.Done) -> dict[int, int]:
    """Return how often a run's results refer to each generation of shared memory."""
    held: dict[int, int] = {}
    for outcome in done.outcomes:
        for value in values_of(outcome):
            for leaf in value.leaves:
                if leaf.segment >= 0:
                    held[leaf.generation] = held.get(leaf.generation, 0) + 1
    return held


def not_run(stage: str) -> RequestError:
    """Return the error of a unit that could not be in time any more when its turn came."""
    detail = f"late: the deadline could not be met any more, so stage {stage!r} was not run"
    return RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, stage=stage)


def shutting_down() -> RequestError:
    """Return the error of a call that came too late."""
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "the app is shutting down", headers=RETRY_AFTER)


def overtaken(seconds: float) -> RequestError:
    """Return the error of a call whose plan has to end so long after another one came into force."""
    detail = (
        f"the app has changed, and its replicas of before end: the call has not ended within {seconds:g} s"
    )
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=RETRY_AFTER)


def listed(name: str, value: object) -> list[object]:
    """Return the items of a parameter that a stage is mapped over; RequestError (400) if it is no list."""
    if isinstance(value, list | tuple):
        return list(value)
    detail = f"parameter {name!r} is a {type(value).__name__}; a stage is mapped over it: allowed is a list"
    raise RequestError(HTTPStatus.BAD_REQUEST, detail)


def follow(ref: Ref, value: object) -> object:
    """Return the field or place of a parameter that the answer takes as it came; RequestError (400) if it has none."""
    for key in ref.path:
        try:
            value = value[key]  # type: ignore[index]  # whatever has none is refused below
        except (LookupError, TypeError) as error:
            detail = f"parameter {ref.node[1:]!r} has no {'.'.join(map(str, ref.path))}"
            raise RequestError(HTTPStatus.BAD_REQUEST, detail) from error
    return value
