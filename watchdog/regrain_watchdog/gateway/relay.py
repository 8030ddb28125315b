"""Hands requests on to the control plane over its Unix socket, bodies as they come; says 503 while it is not there."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from regrain.errors import RequestError
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.upstream.client import Connection, UpstreamError
from regrain_watchdog.gateway import forward
from regrain_watchdog.gateway.forward import Bounds

logger = logging.getLogger(__name__)

BODY_PIECE = 30.0
"""Seconds that a caller has for each further piece of a body."""
ANSWER = 60.0
"""Seconds that the control plane has, once it has the body, to begin its answer."""


class Relay:
    """Answers requests with what the control plane answers.

    Args:
        path: its socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        loop = asyncio.get_running_loop()
        bounds = Bounds(piece=BODY_PIECE, answer=ANSWER, server="the control plane")
        try:
            _, connection = await loop.create_unix_connection(Connection, str(self._path))
        except OSError:
            _say(
                proto, 503, "the control plane is being started; try again in a moment", ("retry-after", "1")
            )
            return
        try:
            answer = await forward.ask(connection, scope, proto, bounds)
        except UpstreamError as error:
            logger.warning("%s %s: %s", scope.method, scope.path, error)
            _say(proto, 502, "the control plane ended at this; try again in a moment")
        except RequestError as error:
            _say(proto, error.status, error.detail, *error.headers.items())
        else:
            await forward.tell(answer, proto, bounds)
        finally:
            connection.close()


def _say(proto: Exchange, status: int, sentence: str, *fields: tuple[str, str]) -> None:
    proto.response_str(status, [("content-type", "text/plain; charset=utf-8"), *fields], sentence)
