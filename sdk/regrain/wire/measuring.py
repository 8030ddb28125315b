"""The frames between `regrain profile` and the process that measures an app's stages.

One frame is one line of JSON: asks on the process' standard input, one answer each on its standard output, before it
which stages are being run. An ask that cannot be done is answered with Refused and changes nothing.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from regrain.errors import RegrainError
from regrain.wire.frames import Entitle

F = TypeVar("F")


class MeasuringError(RegrainError):
    """A line that is no frame, or a process that does not answer."""


class Request(Struct, frozen=True):
    """A request: its parameters by name, each as regrain.wire.codec.pack_inline gives it."""

    values: dict[str, bytes]


# profile -> process ----------------------------------------------------------------------------------------


class Seat(Struct, frozen=True, tag="seat"):
    """Run stages that need a GPU under such leases from here on. Answered with Seated."""

    entitled: Entitle


class Load(Struct, frozen=True, tag="load"):
    """Load a stage with so many cores; one that is loaded with others is loaded anew. Answered with Loaded."""

    stage: str
    cpu: float


class Walk(Struct, frozen=True, tag="walk"):
    """Run these requests through the flow and keep what each stage is given. Answered with Walked."""

    requests: tuple[Request, ...]


class Time(Struct, frozen=True, tag="time"):
    """Time calls of a stage on `batch` inputs of a request's, over and over. Answered with Timed.

    request: its place in the last Walk. limit: seconds after which no further call begins. error: the standard error of
    the mean, over the mean, that is close enough.
    """

    stage: str
    request: int
    batch: int
    limit: float
    error: float


class Chain(Struct, frozen=True, tag="chain"):
    """Time the whole flow, fused, on a request of the last Walk. Answered with Timed."""

    request: int
    limit: float
    error: float


# process -> profile ----------------------------------------------------------------------------------------


class Ready(Struct, frozen=True, tag="ready"):
    """The first word of the process, unasked: what it took to start it, and what it holds without any stage.

    pid: of the process that runs the stages. seconds: from its fork until it could load a stage; 0 where the module is
    not to be forked. memory: bytes that it holds for itself.
    """

    pid: int
    seconds: float
    memory: int


class Seated(Struct, frozen=True, tag="seated"):
    """The share is in force after so many seconds; `device`: bytes of the GPU that the process holds."""

    seconds: float
    device: int


class Loaded(Struct, frozen=True, tag="loaded"):
    """The stage is loaded: seconds that it took, bytes of memory and of the GPU's that the process now holds."""

    seconds: float
    memory: int
    device: int


class Walked(Struct, frozen=True, tag="walked"):
    """What the requests came to.

    units: by stage, the inputs that each request has for it. out_bytes: by stage, mean bytes of one result.
    grown: by stage, bytes of memory that its first call has taken beside.
    """

    units: dict[str, tuple[int, ...]]
    out_bytes: dict[str, float]
    grown: dict[str, int]


class Timed(Struct, frozen=True, tag="timed"):
    """Mean seconds of a call, its standard deviation over that, and of how many calls.

    waited: seconds of it until the lease was there, with nobody else about. device: bytes of the GPU held at most.
    """

    seconds: float
    cv: float
    count: int
    waited: float = 0.0
    device: int = 0


class Doing(Struct, frozen=True, tag="doing"):
    """No answer yet: a stage is loaded or called from here on. What ends the process then is that stage's doing."""

    stage: str


class Refused(Struct, frozen=True, tag="refused"):
    """It could not be done; one sentence."""

    detail: str


Ask = Seat | Load | Walk | Time | Chain
Answer = Ready | Seated | Loaded | Walked | Timed | Doing | Refused
_encode = msgspec.json.Encoder().encode


def encode(frame: Ask | Answer) -> bytes:
    """Return a frame as a line."""
    return _encode(frame) + b"\n"


def ask(line: bytes) -> Ask:
    """Read an ask; MeasuringError if the line is none."""
    return _decode(_asks, line)


def answer(line: bytes) -> Answer:
    """Read an answer; MeasuringError if the line is none."""
    return _decode(_answers, line)


_asks: msgspec.json.Decoder[Ask] = msgspec.json.Decoder(Ask)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def _decode(decoder: msgspec.json.Decoder[F], line: bytes) -> F:
    try:
        return decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise MeasuringError(f"not a frame: {error}") from error
