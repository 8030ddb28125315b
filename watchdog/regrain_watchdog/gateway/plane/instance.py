"""One version of a function that runs, whatever it is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from prometheus_client.registry import Collector

from regrain_watchdog.front.handler import Exchange, Handler, Scope

Clear = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many replicas there are, and how many of them serve; why not more, in a sentence."""

    replicas: int
    available: int
    detail: str = ""


class Instance(Protocol):
    """One version of a function. It is started, serves, and is stopped."""

    @property
    def admin(self) -> Handler | None:
        """Its page and API for operators, who are asked for the gateway's password there; None without one."""

    @property
    def measure(self) -> Collector | None:
        """What it tells of itself in metrics; None where that is nothing."""

    async def start(self, replicas: int, clear: Clear) -> None:
        """Be ready for requests; RegrainError or OSError says why it cannot be, and is followed by `stop`.

        clear: ends the versions before. It is awaited where both want the same port, once the settings are read.
        """

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request. RequestError where the infrastructure refuses it, before an answer has begun."""

    async def scale(self, replicas: int) -> None:
        """Have another number of replicas (1 or more); RegrainError if it cannot, and all is as before."""

    async def stop(self) -> None:
        """End its processes; no request is under way, or those that are have had their time."""

    def kill(self) -> None:
        """End its processes at once."""

    def tally(self) -> Tally:
        """Return how it does."""

    def pids(self) -> list[int]:
        """Return its processes."""
