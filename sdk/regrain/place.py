"""Say where in the user's code something was written, so that an error can name its line."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

_STORES = ("STORE_NAME", "STORE_GLOBAL", "STORE_FAST", "STORE_DEREF")
_BEFORE = ("CACHE", "EXTENDED_ARG")
"""What may stand between a call and the instruction that stores its result: the latter from the 257th name on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line of a file; `target` is the variable that the running statement assigns to, or ""."""

    file: str
    line: int
    target: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller() -> Place:
    """Return the place outside of this package that called into it."""
    for frame in _frames():
        if frame.f_globals.get("__name__", "").partition(".")[0] != __package__:
            return Place(file=frame.f_code.co_filename, line=frame.f_lineno, target=_target(frame))
    return Place(file="<unknown>", line=0)


def within(file: str) -> Place | None:
    """Return the innermost running line of a file; None if none of it runs."""
    for frame in _frames():
        if frame.f_code.co_filename == file:
            return Place(file=file, line=frame.f_lineno)
    return None


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _target(frame: FrameType) -> str:
    """Return "recognise" when the frame is in `recognise = app.batched()(Recogniser)`.

    A class stage is called after the variable and not after the class, for that is its name in the flow.
    The instruction after the running call stores its result, if the call is all that is assigned.
    """
    for instruction in dis.get_instructions(frame.f_code):
        if instruction.offset > frame.f_lasti and instruction.opname not in _BEFORE:
            return str(instruction.argval) if instruction.opname in _STORES else ""
    return ""
