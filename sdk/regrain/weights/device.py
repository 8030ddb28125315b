"""Weights in a device's memory, once per device: what lends them is the runtime's; model helpers ask for it here."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Protocol

HOLDER = ".weights"
"""Suffix of the socket of a device's holder of weights, in place of its arbiter's."""
LOCK = ".lock"
"""Of a file beside that socket, by which the holder is alone, and known to the arbiter: a POSIX lock on all of it."""


class Lender(Protocol):
    """Lends weights that lie in a device's memory, for all processes that map them."""

    @property
    def device(self) -> str:
        """Return the device as torch names it."""
        ...

    def borrow(self, key: str, nbytes: int, file: Callable[[], Path]) -> object:
        """Return weights as bytes that torch.as_tensor takes; they stay for as long as anything refers to them.

        Args:
            key: names what they are.
            nbytes: how many bytes.
            file: makes the file that holds them; called only where they are not there yet.

        Raises:
            RegrainError, OSError: they cannot be had.
        """
        ...


_lender: ContextVar[Lender | None] = ContextVar("regrain.lender", default=None)


class lending:  # noqa: N801  # used as a context manager
    """Let model helpers borrow weights of a device, for a with block."""

    __slots__ = ("_lender", "_token")

    def __init__(self, lender: Lender) -> None:
        self._lender = lender
        self._token: Token[Lender | None] | None = None

    def __enter__(self) -> None:
        self._token = _lender.set(self._lender)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            _lender.reset(self._token)


def current_lender() -> Lender | None:
    """Return who lends weights here; None where every replica has its own."""
    return _lender.get()
