"""Hands requests on to the control plane over its Unix socket, bodies as they come; says 503 while it is not there.

Whoever may not ask it gets no further than here: it has a thread for each request, which a slow body would hold.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from regrain.errors import RequestError
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.upstream.client import Connection, UpstreamError
from regrain_watchdog.gateway import forward
from regrain_watchdog.gateway.credentials import OPEN, REALM, REFUSED, Credentials
from regrain_watchdog.gateway.forward import Body, Bounds

logger = logging.getLogger(__name__)

BODY_PIECE = 30.0
"""Seconds that a caller has for each further piece of a body."""
BODY = 300.0
"""Seconds that a caller has for all of it."""
ANSWER = 60.0
"""Seconds that the control plane has, once it has the body, to begin its answer."""


class Relay:
    """Answers requests with what the control plane answers.

    Args:
        path: its socket.
        credentials: None where it asks for none.
    """

    def __init__(self, path: Path, credentials: Credentials | None = None) -> None:
        self._path = path
        self._credentials = credentials

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        if not self._admits(scope):
            _say(proto, 401, REFUSED, ("www-authenticate", REALM))
            return
        loop = asyncio.get_running_loop()
        bounds = Bounds(piece=BODY_PIECE, whole=BODY, answer=ANSWER, server="the control plane")
        try:
            _, connection = await loop.create_unix_connection(Connection, str(self._path))
        except OSError:
            _say(
                proto, 503, "the control plane is being started; try again in a moment", ("retry-after", "1")
            )
            return
        try:
            answer = await forward.ask(connection, scope, Body(scope, proto, bounds), bounds)
        except UpstreamError as error:
            logger.warning("%s %s: %s", scope.method, scope.path, error)
            _say(proto, 502, "the control plane ended at this; try again in a moment")
        except RequestError as error:
            _say(proto, error.status, error.detail, *error.headers.items())
        else:
            await forward.tell(answer, scope, proto, bounds)
        finally:
            connection.close()

    def _admits(self, scope: Scope) -> bool:
        if self._credentials is None or scope.path in OPEN:
            return True
        return self._credentials.admit(scope.headers.get("authorization", ""))


def _say(proto: Exchange, status: int, sentence: str, *fields: tuple[str, str]) -> None:
    proto.response_str(status, [("content-type", "text/plain; charset=utf-8"), *fields], sentence)
