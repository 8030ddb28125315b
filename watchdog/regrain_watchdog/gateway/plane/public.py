"""What clients reach: functions by their names, and behind all other paths the control plane."""

from __future__ import annotations

import logging
import time

from regrain.errors import RequestError
from regrain_watchdog.front import problem
from regrain_watchdog.front.credentials import Key as Secret
from regrain_watchdog.front.handler import CallerGoneError, Exchange, Handler, Scope
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.dressing import CALL_ID, Dressed, request_headers
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.route import ASYNC, FUNCTION, Below, Key, split

logger = logging.getLogger(__name__)

HEALTH = "/healthz"
PAGES = "/system/regrain/"
INTERNAL = ("x-openfaas-internal", "regrain")
"""Marks what infrastructure answered, and no function."""
PLAIN = ("content-type", "text/plain; charset=utf-8")


class Public:
    """Answers what comes on the gateway's port.

    Args:
        functions: those that are served.
        counts: what counts invocations.
        control: answers what is no function's.
        secret: what the pages of apps ask for; None where being on this machine is enough.

    Attributes:
        deferred: answers what is to be run later; None where nothing is.
    """

    def __init__(
        self, functions: Functions, counts: Counts, control: Handler, secret: Secret | None = None
    ) -> None:
        self.deferred: Handler | None = None
        self._functions = functions
        self._counts = counts
        self._control = control
        self._secret = secret

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        path = scope.path
        if path.startswith(FUNCTION):
            key, below = split(path, FUNCTION)
            await self.invoke(key, Below(scope, below, scope.headers), proto)
        elif path.startswith(ASYNC) and self.deferred is not None:
            await self.deferred.__rsgi__(scope, proto)
        elif path.startswith(PAGES):
            await self._show(path, scope, proto)
        elif path == HEALTH:
            proto.response_str(200, [PLAIN], "OK")
        else:
            await self._control.__rsgi__(scope, proto)

    async def _show(self, path: str, scope: Scope, proto: Exchange) -> None:
        """Have the page or the API of an app answer, for its operators."""
        try:
            if self._secret is not None:  # asked for before it is told whether there is such an app
                self._secret.check(scope.headers)
        except RequestError as error:
            fields = [("content-type", problem.MEDIA_TYPE), *error.headers.items()]
            proto.response_bytes(error.status.value, fields, problem.problem(error, ""))
            return
        key, below = split(path, PAGES)
        hosting = self._functions.find(key)
        admin = hosting.instance.admin if hosting is not None and hosting.instance is not None else None
        if admin is None:
            proto.response_str(404, [PLAIN], f"{key[1]} is no app that serves now")
        elif path.count("/") == PAGES.count("/"):
            proto.response_empty(308, [("location", f"{path}/")])  # what the page names is relative to it
        else:
            await admin.__rsgi__(Below(scope, below, scope.headers), proto)

    async def invoke(self, key: Key, scope: Scope, proto: Exchange) -> None:
        """Have a function answer; the one place where what the gateway refuses becomes an answer.

        scope: as the function sees it, but for the headers that the gateway adds.
        """
        began = time.monotonic()
        headers = request_headers(scope, proto)
        dressed = Dressed(proto, headers, began)
        hosting = self._functions.find(key)
        if hosting is None:
            dressed.response_str(404, [PLAIN, INTERNAL], f"No such function: {key[1]}")
            return
        self._counts.began(key)
        try:
            await hosting.serve(Below(scope, scope.path, headers), dressed)
        except RequestError as error:
            _refuse(dressed, error, headers[CALL_ID])
        except ConnectionError:
            raise  # the caller's
        except Exception:
            dressed.fail()
            raise
        finally:
            self._counts.ended(key, dressed.status, time.monotonic() - began)


def _refuse(proto: Dressed, error: RequestError, call_id: str) -> None:
    if proto.is_begun:
        logger.warning("an answer was broken off: %s", error.detail, extra={"call_id": call_id})
        raise CallerGoneError from error  # the port breaks off what has begun
    fields = [("content-type", problem.MEDIA_TYPE), INTERNAL]
    fields += [(name.lower(), text) for name, text in error.headers.items()]
    proto.response_bytes(error.status.value, fields, problem.problem(error, call_id))
