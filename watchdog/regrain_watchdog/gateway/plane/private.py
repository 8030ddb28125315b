"""What the control plane asks the front, on a socket of its own: how functions do, and to look at the store now."""

from __future__ import annotations

import msgspec

from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.gateway.later.later import Later
from regrain_watchdog.gateway.plane.functions import Functions

_encode = msgspec.json.Encoder().encode
JSON = ("content-type", "application/json")


class Private:
    """Answers the control plane."""

    def __init__(self, functions: Functions, later: Later) -> None:
        self._functions = functions
        self._later = later

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        match scope.method, scope.path:
            case "GET", "/functions":
                proto.response_bytes(200, [JSON], _encode(self._functions.standings()))
            case "POST", "/changed":
                self._later.changed()
                await self._functions.reconcile()
                proto.response_empty(202, [])
            case _:
                proto.response_str(404, [], "there are GET /functions and POST /changed")
