"""What a stage may know of the call that it works for, and a stage's build of the stage.

It lives in context variables: stages keep the signatures of plain functions, and the executor alone says
which call is being worked on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from regrain.errors import SpecError
from regrain.manifest import StageSpec

logger = logging.getLogger("regrain.stage")


def _never() -> bool:
    return False


class CallLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records carry the attribute `call_id`."""

    def process(
        self,
        msg: object,
        kwargs: MutableMapping[str, Any],  # logging's own signature
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Add the call id to the fields that the stage gives itself."""
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The call that a stage works for.

    Attributes:
        call_id: as in the response header X-Call-Id and in the logs.
        headers: the request's headers, names in lower case.
        deadline: CLOCK_MONOTONIC seconds; 0.0 where there is none.
        is_cancelled: tells whether the caller has gone.
        peers: in a batched call every call's context, this one first; else empty.
    """

    call_id: str
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: float = 0.0
    is_cancelled: Callable[[], bool] = _never
    peers: tuple[Context, ...] = ()

    def time_left(self) -> float | None:
        """Return the seconds until the deadline (0.0 once it has passed); None where there is no deadline."""
        return max(0.0, self.deadline - time.monotonic()) if self.deadline else None

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone, so that nobody waits for the answer."""
        return self.is_cancelled()

    @property
    def batch(self) -> tuple[Context, ...]:
        """The contexts of all items of a batched call in order; of this call alone elsewhere."""
        return self.peers or (self,)

    @property
    def log(self) -> CallLogger:
        """A logger (named "regrain.stage") whose records carry the call id."""
        return CallLogger(logger, {"call_id": self.call_id})


_contexts: ContextVar[Sequence[Context]] = ContextVar("regrain.contexts", default=())


def context() -> Context:
    """Return the call that is being worked on; in a batched stage the first item's, `.batch` has all.

    Raises:
        SpecError: no stage is running here. A thread that a stage starts sees the call only if it runs in
            a copy of the stage's context (contextvars.copy_context).
    """
    contexts = _contexts.get()
    if not contexts:
        raise SpecError("regrain.context() was called outside a stage that works for a request")
    first = contexts[0]
    return first if len(contexts) == 1 else replace(first, peers=tuple(contexts))


class entered:  # noqa: N801  # used as a context manager, once per call of a stage
    """Make these the calls that are being worked on, for the length of a with block."""

    __slots__ = ("_contexts", "_token")

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._contexts = contexts
        self._token: Token[Sequence[Context]] | None = None

    def __enter__(self) -> None:
        self._token = _contexts.set(self._contexts)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _contexts.reset(self._token)


@dataclass(frozen=True, slots=True)
class Build:
    """The stage that is being built: its name, the cores it may use, and whether it asked for a GPU.

    cuda: gives the options of onnxruntime's CUDA provider that keep a session within the stage's share. Whoever asks is
        taken to make a session that keeps to them for life.
    """

    stage: str
    cpu: float
    gpu: bool
    cuda: Callable[[], Mapping[str, str]] = dict


_build: ContextVar[Build | None] = ContextVar("regrain.build", default=None)


class building:  # noqa: N801  # used as a context manager
    """Let model helpers (regrain.onnx, regrain.torch) know which stage is being built, for a with block."""

    __slots__ = ("_build", "_token")

    def __init__(self, stage: str, spec: StageSpec, cuda: Callable[[], Mapping[str, str]] = dict) -> None:
        self._build = Build(stage, spec.cpu, spec.gpu is not None, cuda)
        self._token: Token[Build | None] | None = None

    def __enter__(self) -> None:
        self._token = _build.set(self._build)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _build.reset(self._token)


def current_build() -> Build | None:
    """Return the stage that is being built; None outside `building`."""
    return _build.get()
