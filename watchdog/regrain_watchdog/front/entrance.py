"""Where requests come in while versions of the app come and go: each is taken by the version then in force."""

from __future__ import annotations

from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.http import Ingress


class Entrance:
    """Hands each request to the ingress of the version in force.

    Attributes:
        ingress: that ingress.
    """

    def __init__(self, ingress: Ingress) -> None:
        self.ingress = ingress

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        await self.ingress.__rsgi__(scope, proto)

    def enter(self, ingress: Ingress) -> None:
        """Put another version in force; requests that the former one has taken end there."""
        self.ingress = ingress

    def drain(self) -> None:
        """Say from here on that the app is to stop; calls are still served."""
        self.ingress.draining = True
