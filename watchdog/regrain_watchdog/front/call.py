"""A call as the ingresses and the dispatcher speak of it: what comes in, what goes out, what was measured.

HTTP today and gRPC next to it build a Call, hand it to a Service and turn its Reply into their own response.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from regrain.manifest import Manifest
from regrain.wire.frames import Value

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.traces import Trace

NORMAL = 5
"""The priority of a call whose caller names none; 0 is the most urgent."""
LEAST_URGENT = 9
"""The last priority."""
MAX_ITEMS = 10_000
"""Items of a list of a call that a stage is mapped over, at most. Each becomes a unit in a queue where the stage
is alone, and the loop stands still meanwhile: for so many some 20 ms, in 5 MB."""


@dataclass(slots=True, kw_only=True)
class Span:
    """What one stage (or, with stage "", one group's queue and hop) cost a call; seconds."""

    group: str
    stage: str
    seconds: float
    batch: int = 1
    kind: str = "service"
    """ "service", "wait" (in the group's queue), "lease" (for the GPU) or "hop" (there and back, without both)."""
    lost: bool = False
    """Whether nothing came of it, since its replica died."""


class Items(Protocol):
    """What takes the items of an answer that is streamed."""

    @property
    def has_begun(self) -> bool:
        """Whether there was an item; from then on the call is not tried again."""

    def attach(self, grant: Callable[[int], None]) -> None:
        """A replica begins: `grant` lets it send so many more items, 0 lets it end."""

    def put(self, value: Value) -> None:
        """Take the next item, all of it inline."""

    def whole(self) -> object:
        """What stands for the answer once the last item is there; RequestError where it is too large."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A request on its way.

    id: call id. values: by parameter that is present. headers: msgpack map of the request's headers.
    arrived, deadline: loop time in seconds (CLOCK_MONOTONIC); the deadline is 0.0 where there is none.
    firm: whether the caller gave the deadline, and not the app's objective. priority: smaller is more urgent.
    items: what takes the items of a streamed answer; None has them collected into a list.
    is_sample: whether it is the app's own sample, which warms replicas up. size: bytes of its body.
    spans: what it cost so far; calls that are answered together have one list of them.
    trace: where it is recorded, if it is; the headers name the span that it is in.
    """

    id: str
    values: dict[str, object]
    headers: bytes
    arrived: float
    deadline: float = 0.0
    firm: bool = False
    priority: int = NORMAL
    spans: list[Span] = field(default_factory=list)
    items: Items | None = None
    is_sample: bool = False
    size: int = 0
    trace: Trace | None = None


@dataclass(slots=True, kw_only=True)
class Reply:
    """What a call gave: a plain value (dataclasses as dicts, arrays as numpy arrays), or raw bytes.

    `status` and `headers` are the stage's own where it ended the request by regrain.answer(); else 200 and {}.
    """

    value: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Service(Protocol):
    """What an ingress needs of an app that is served."""

    @property
    def manifest(self) -> Manifest:
        """The app as it is served now."""

    def submit(self, call: Call) -> Coroutine[None, None, Reply]:
        """Run a call; RequestError says how it failed. Cancelling the task cancels the call."""

    def unready(self) -> str:
        """Why the app is not ready for requests, in one sentence; "" when it is."""

    def status(self) -> dict[str, object]:
        """What the admin API's GET /status tells."""
