"""Where requests come in while versions of the app come and go.

A request belongs to the version that is in force when its body has been read: that one reads what it asks, runs it and
answers it, so that no request crosses versions, and a slow body holds up no change.
"""

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

    def is_call(self, method: str, path: str) -> bool:
        """Whether a request is one for the app itself."""
        return self.ingress.is_call(method, path)

    def enter(self, ingress: Ingress) -> None:
        """Put another version in force; requests that run under the former one end there."""
        ingress.draining = self.ingress.draining
        self.ingress.successor = ingress
        self.ingress = ingress

    def drain(self) -> None:
        """Say from here on that the app is to stop; calls are still served."""
        self.ingress.draining = True
