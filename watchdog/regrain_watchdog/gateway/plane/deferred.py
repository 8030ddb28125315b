"""Functions that are invoked later: POST /async-function/NAME, and DELETE /async-function/NAME/CALL-ID."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from regrain.errors import RequestError
from regrain_watchdog.front import body, problem
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.gateway.later.call import Call, Result
from regrain_watchdog.gateway.later.later import Later, Limits
from regrain_watchdog.gateway.plane.dressing import CALL_ID, START, request_headers
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.inside import Inside
from regrain_watchdog.gateway.plane.route import ASYNC, Below, Key, split

BODY_TIMEOUT = 30.0
PLAIN = ("content-type", "text/plain; charset=utf-8")
Invoke = Callable[[Key, Scope, Exchange], Awaitable[None]]


class Deferred:
    """Takes calls that are run later.

    Args:
        functions: those that may be called.
        later: runs them.
        limits: of calls.
    """

    def __init__(self, functions: Functions, later: Later, limits: Limits) -> None:
        self._functions = functions
        self._later = later
        self._limits = limits

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request: 202 once it is on disk, whatever ends from then on."""
        headers = request_headers(scope, proto)
        try:
            if scope.method == "DELETE":
                await self._cancel(scope.path, proto)
            else:
                await self._accept(scope, headers, proto)
        except RequestError as error:
            fields = [("content-type", problem.MEDIA_TYPE), (CALL_ID, headers[CALL_ID])]
            fields += [(name.lower(), text) for name, text in error.headers.items()]
            proto.response_bytes(error.status.value, fields, problem.problem(error, headers[CALL_ID]))

    async def _accept(self, scope: Scope, headers: dict[str, str], proto: Exchange) -> None:
        key, path = split(scope.path, ASYNC)
        if self._functions.find(key) is None:
            proto.response_str(404, [PLAIN], f"No such function: {key[1]}")
            return
        most = self._limits.body
        sent = await body.read(proto, scope.headers, limit=most, timeout=BODY_TIMEOUT, is_set=False)
        await self._later.accept(Call.of(*key, Below(scope, path, headers), sent))
        proto.response_empty(202, [(CALL_ID, headers[CALL_ID]), (START, headers[START])])

    async def _cancel(self, path: str, proto: Exchange) -> None:
        """Cancel a function's call, or the call of any function where its id alone is named."""
        key, rest = split(path, ASYNC)
        call_id = rest.removeprefix("/")
        found = await self._later.cancel(call_id, key) if call_id else 0
        if not found:
            call_id = path.removeprefix(ASYNC)
            found = await self._later.cancel(call_id)
        if found:
            proto.response_empty(202, [(CALL_ID, call_id)])
        else:
            proto.response_str(404, [PLAIN], f"No such call that is still open: {call_id}")


class Asked:
    """A call as a request."""

    def __init__(self, call: Call) -> None:
        self.method = call.method
        self.path = call.path
        self.query_string = call.query
        self.headers = {**call.headers, "content-length": str(len(call.body))}
        self.headers.pop("transfer-encoding", None)


async def run(call: Call, invoke: Invoke, limits: Limits) -> Result:
    """Have a function answer a call; RequestError and OSError where it did not."""
    inside = Inside(call.body, limits.result)
    await invoke((call.namespace, call.function), Asked(call), inside)
    return Result(status=inside.status, headers=inside.headers, body=inside.body)
