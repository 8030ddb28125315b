"""A function that redirects to the address in its variable `destination`, and has no process."""

from __future__ import annotations

from regrain.errors import SpecError
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.gateway.plane.instance import Clear, Tally
from regrain_watchdog.gateway.spec import Function

DESTINATION = "destination"


class RedirectInstance:
    """Answers 302."""

    def __init__(self, function: Function) -> None:
        self.admin = None
        self.measure = None
        self._destination = function.deployment.env_vars.get(DESTINATION, "")
        self._replicas = 0

    async def start(self, replicas: int, clear: Clear) -> None:  # noqa: ARG002 - it has no port of its own
        """Check that there is somewhere to redirect to."""
        text = self._destination
        if not text or not text.isascii() or not text.isprintable():
            raise SpecError(f"envVars.{DESTINATION}: the address to redirect to, was {text!r}")
        self._replicas = replicas

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        proto.response_empty(302, [("location", self._destination)])

    async def scale(self, replicas: int) -> None:
        """Have so many replicas, all of them in name alone."""
        self._replicas = replicas

    async def stop(self) -> None:
        """Nothing is left to end."""

    def kill(self) -> None:
        """Nothing is left to end."""

    def tally(self) -> Tally:
        """Return how many replicas were asked for."""
        return Tally(replicas=self._replicas, available=self._replicas)

    def pids(self) -> list[int]:
        """Return none."""
        return []
