"""What a stage may say besides its result: end the request with an answer, or fail as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from regrain.errors import RegrainError, SpecError


class Answer(Exception):  # noqa: N818 - it ends a request, and is no error
    """Ends the request with an answer; raised by `answer` and caught by the executor.

    Attributes:
        value: the answer.
        status: its HTTP status.
        headers: more response headers.
    """

    def __init__(self, value: object, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"the request was answered early with status {status}")
        self.value = value
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What stands in the place of a result where a stage declared `errors="return"`.

    Attributes:
        stage: the stage that failed.
        message: one sentence on how.
    """

    stage: str
    message: str

    @classmethod
    def of(cls, stage: str, error: BaseException) -> Failure:
        """Return what stands for an exception that a stage raised."""
        return cls(stage=stage, message=sentence(error))


def line(text: object) -> str:
    """Return what somebody wrote as one line that every encoding has; "" where it cannot be told."""
    try:
        return " ".join(str(text).encode(errors="replace").decode().split())
    except Exception:
        return ""


def sentence(error: BaseException) -> str:
    """Return an exception as one line: its type, unless it is Regrain's own, and its message."""
    text = line(error)
    if isinstance(error, RegrainError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def answer(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the request from within a stage; what follows in the flow does not run.

    Args:
        value: the answer, of any type that a stage may return.
        status: HTTP status, 200 to 599.
        headers: more response headers.

    Raises:
        Answer: always; let it pass.
        SpecError: the status is none that ends a request, or a header is no text.
    """
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise SpecError(f"status of an answer must be in 200 to 599, was {status!r}")
    given = {}
    for name, text in (headers or {}).items():
        if not _is_text(name) or not _is_text(text):
            raise SpecError(f"headers of an answer must be text, was {name!r}: {text!r}")
        given[name[:]] = text[:]  # as str itself, which alone a frame carries
    raise Answer(value, int(status), given)


def _is_text(value: object) -> bool:
    """Whether a value is text without half a character, which no encoding has."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value
