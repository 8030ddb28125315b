"""How a unit of a step ends, and what a stage raised as the end of its unit.

A stage may raise anything, and a RequestError may hold anything: what no frame could carry would end the replica, or
the units beside it, so it is made sound here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from regrain.answers import line, sentence
from regrain.errors import RequestError
from regrain.headers import sendable

DETAIL_LIMIT = 300
"""Characters of an exception's message that a caller gets to see."""
STATED_LIMIT = 4000
"""Likewise of a RequestError's detail, which was written for the caller."""


@dataclass(frozen=True, slots=True)
class Gave:
    """A unit that succeeded: a value per Step.outputs."""

    values: list[object]


@dataclass(frozen=True, slots=True)
class Failed:
    """A unit that failed at a stage; `detail` is one sentence for the caller, `headers` go beside it."""

    status: HTTPStatus
    stage: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ended:
    """A unit whose stage ended the request by regrain.answer()."""

    stage: str
    value: object
    status: int
    headers: dict[str, str]


Outcome = Gave | Failed | Ended


def failed(stage: str, error: BaseException, doing: str = "failed") -> Failed:
    """Return how an exception of a stage ends its unit: a RequestError as it says, any other as a 500."""
    if isinstance(error, RequestError):
        with suppress(Exception):  # one that its own class never made a RequestError
            detail = line(error.detail)[:STATED_LIMIT]
            return Failed(_status(error.status), stage, detail, sendable(error.headers))
    detail = f"stage {stage!r} {doing}: {sentence(error)}"
    return Failed(HTTPStatus.INTERNAL_SERVER_ERROR, stage, detail[:DETAIL_LIMIT])


def _status(told: object) -> HTTPStatus:
    """The status that a stage named; 500 where that is none of an error."""
    try:
        status = HTTPStatus(int(told))  # type: ignore[call-overload]  # whatever is no number is refused
    except (TypeError, ValueError, OverflowError):
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return status if status >= HTTPStatus.BAD_REQUEST else HTTPStatus.INTERNAL_SERVER_ERROR
