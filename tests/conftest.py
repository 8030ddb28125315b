"""What many tests need."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")  # how long an example takes says something of the machine alone

TURN = 0.005
"""Seconds after which a thread that sleeps wants to go on."""
Result = TypeVar("Result")


@pytest.fixture
def free_ports() -> Iterator[list[int]]:
    """Four ports where nobody listens, and which nobody is given who asks for any free one.

    They stay bound, so a server gets one only if it sets SO_REUSEADDR, as servers do.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for sock in sockets:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", 0))
        yield [int(sock.getsockname()[1]) for sock in sockets]


def pressed() -> float:
    """Seconds for which somebody has waited for a core or a disk so far; infinite where the kernel does not tell."""
    try:
        told = [Path("/proc/pressure", of).read_text() for of in ("cpu", "io")]
    except OSError:
        return math.inf
    return sum(int(text.split("total=")[1].split()[0]) for text in told) / 1e6


class Standstill:
    """Notes what time the machine may have kept from a block: its longest gap between turns, or all that was waited."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._before = pressed()
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        last, ended = time.monotonic(), False
        while not ended:
            ended = self._ended.wait(TURN)
            now = time.monotonic()
            self.seconds, last = max(self.seconds, now - last), now

    def __enter__(self) -> Standstill:
        self._watching.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._watching.join()
        waited = pressed() - self._before
        self.seconds = max(self.seconds, math.inf if math.isnan(waited) else waited)


def with_time(attempt: Callable[[float], Result], first: float) -> Result:
    """Try with a timer of so many seconds, and with longer ones where the machine stood still; return the outcome.

    For what a timer of the product must leave time for. What fails though the machine kept less than a quarter of the
    timer from it has failed: a second try would hide a fault that comes and goes.
    """
    for seconds in (first, 10 * first):
        still = Standstill()
        try:
            with still:
                return attempt(seconds)
        except Exception:
            if still.seconds < seconds / 4:
                raise
    return attempt(100 * first)


@pytest.fixture(name="with_time")
def _with_time() -> Callable[[Callable[[float], Result], float], Result]:
    return with_time
