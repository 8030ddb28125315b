"""A function that is a server of its own: an fprocess that listens (of-watchdog's mode http), or a WSGI application."""

from __future__ import annotations

import asyncio
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from msgspec.structs import replace

from regrain.errors import LoadError, RequestError, SpecError
from regrain_watchdog.front import urgency
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.measure import CANCELLED
from regrain_watchdog.front.reply import RETRY_AFTER
from regrain_watchdog.front.trace_context import keep_valid
from regrain_watchdog.front.upstream import target
from regrain_watchdog.front.upstream.client import Answer, Connection, Pool, UpstreamError, accepts
from regrain_watchdog.front.upstream.gate import Gate
from regrain_watchdog.front.upstream.openfaas import translated
from regrain_watchdog.front.upstream.proxy import IDEMPOTENT
from regrain_watchdog.front.upstream.target import WSGI
from regrain_watchdog.front.upstream.upstream import Address, Upstream
from regrain_watchdog.gateway import forward, sandbox
from regrain_watchdog.gateway.forward import Body, Bounds
from regrain_watchdog.gateway.plane import wishes
from regrain_watchdog.gateway.plane.dressing import CALL_ID
from regrain_watchdog.gateway.plane.instance import Clear, Tally
from regrain_watchdog.gateway.plane.launch import Launch, Launcher
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Function

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.export import Export

PATIENCE = 1.0
"""Seconds that a server has to end, once no request is under way. The first process of a sandbox hears SIGTERM only if
it asks to."""
NEVER = float("inf")
GONE, LOOK = 2.0, 0.02
"""Seconds for which a port may still be held by what has to end of the server before, and between two looks."""


async def _until_free(pool: Pool[Connection], url: str) -> None:
    """Wait until nothing listens at a URL, as children of a server end a moment after it; LoadError if it never is."""
    end = time.monotonic() + GONE
    while await accepts(pool):
        if time.monotonic() >= end:
            raise LoadError(f"{url}: something listens there already")
        await asyncio.sleep(LOOK)


class UpstreamInstance:
    """One version of a server. It is one process; replicas are a number, and for WSGI that of its workers."""

    def __init__(
        self, function: Function, launcher: Launcher, output: Output, export: Export | None = None
    ) -> None:
        self.admin = None
        self.measure = None
        self._function = function
        self._launcher = launcher
        self._output = output
        self._upstream: Upstream | None = None
        self._launch: Launch | None = None
        self._replicas = 0
        self._traces = export.traces(function.deployment.service) if export is not None else None

    async def start(self, replicas: int, clear: Clear) -> None:
        """Start the server, and wait until it is ready. One with a port of its own ends the version before."""
        command = self._function.deployment.env_process
        if command.startswith(WSGI):
            upstream, config = self._wsgi(command, replicas)
        else:
            upstream, config = self._http(replicas)
            await clear()
            await _until_free(upstream.pool, config.upstream_url)
        self._upstream = upstream
        self._gate = Gate(config.max_inflight, config.max_queue)
        self._timeout = config.exec_timeout
        self._bounds = Bounds(
            whole=config.body_timeout,
            stall=config.exec_timeout or None,
            take=config.body_timeout,
            body=config.max_body,
            server="the function",
        )
        await upstream.start(config.start_timeout)
        self._replicas = replicas

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        call = self._begun(scope)
        status = CANCELLED
        try:
            status = await self._answer(call, scope, proto)
        except RequestError as error:
            status = error.status.value
            raise
        finally:
            if call.trace is not None:
                call.trace.end(call, status, time.monotonic())

    def _begun(self, scope: Scope) -> Call:
        """Return a request as a call, its span begun and named by its headers where that is asked for."""
        headers = scope.headers
        call = Call(id=headers.get(CALL_ID, ""), values={}, headers=b"", arrived=time.monotonic())
        if self._traces is not None:
            keep_valid(headers)
            self._traces.begin_http(call, headers, scope.method, scope.path)
        return call

    async def _answer(self, call: Call, scope: Scope, proto: Exchange) -> int:
        """Answer one request; return the status of the answer. Who sends a small body slowly holds no place."""
        urgency.admit(call, scope.headers, self._timeout)
        body = Body(scope, proto, self._bounds)
        await body.gather()
        upstream = self._there
        if upstream.down:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, upstream.down, headers=RETRY_AFTER)
        await self._gate.enter(call.deadline or NEVER, time.monotonic(), call.priority)
        try:
            return await self._pass_on(call, scope, proto, body)
        except UpstreamError as error:
            raise RequestError(HTTPStatus.BAD_GATEWAY, str(error)) from error
        finally:
            self._gate.leave()

    async def scale(self, replicas: int) -> None:
        """Have so many replicas, in name."""
        self._replicas = replicas

    async def stop(self) -> None:
        """End its process."""
        if self._upstream is not None:
            await self._upstream.stop()
        if self._launch is not None:
            await self._launch.end()

    def kill(self) -> None:
        """End its process at once."""
        if self._upstream is not None:
            self._upstream.strike()

    def tally(self) -> Tally:
        """Return whether its server is there."""
        down = self._there.down
        return Tally(replicas=self._replicas, available=0 if down else self._replicas, detail=down)

    def pids(self) -> list[int]:
        """Return the server's process."""
        process = self._there.process
        return [process.pid] if process is not None and process.pid else []

    async def _pass_on(self, call: Call, scope: Scope, proto: Exchange, body: Body) -> int:
        try:
            async with asyncio.timeout_at(call.deadline or None):
                connection, answer = await self._asked(scope, body)
        except TimeoutError as error:
            detail = f"the function did not answer within {call.deadline - call.arrived:g} s"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, headers=forward.CLOSE) from error
        whole = False
        try:
            await forward.tell(answer, scope, proto, self._bounds)
            whole = True
            return answer.status
        finally:
            if whole:
                self._there.pool.give(connection)
            else:
                connection.close()

    async def _asked(self, scope: Scope, body: Body) -> tuple[Connection, Answer]:
        """Have the server begin its answer; ask a safe request again that met a connection just being closed."""
        upstream = self._there
        again = body.is_whole and scope.method in IDEMPOTENT
        connection = await upstream.pool.take()
        while True:
            try:
                return connection, await forward.ask(
                    connection, scope, body, self._bounds, upstream.address.prefix
                )
            except UpstreamError as error:
                connection.close()
                if not (again and error.stale):
                    raise
                again = False
            except BaseException:
                connection.close()
                raise
            connection = await upstream.pool.take(fresh=True)

    def _http(self, replicas: int) -> tuple[Upstream, Config]:
        """Return the server that the variables of of-watchdog tell of."""
        wanted = self._function.deployment
        named = {"fprocess": wanted.env_process} if wanted.env_process else {}
        variables = translated({**wanted.env_vars, **named})
        config = wishes.config(replace(wanted, env_vars=variables), replicas)
        if not config.upstream_url:
            raise SpecError("envVars.upstream_url: where the function listens is missing")
        launch = self._launch = self._launcher.launch(self._function, alone=True)
        command = launch.literal(variables.get("REGRAIN_FPROCESS", "")).split()
        if not command:
            raise SpecError("envProcess: the command that starts the function's server is missing")
        upstream = Upstream(
            Address.parse(config.upstream_url),
            [*launch.prefix, *command],
            environment=launch.environment,
            ready_path=config.ready_path,
            output=self._output.descriptor,
            patience=PATIENCE,
        )
        return upstream, config

    def _wsgi(self, command: str, replicas: int) -> tuple[Upstream, Config]:
        """Return gunicorn with a socket of its own."""
        config = wishes.config(self._function.deployment, replicas)
        found = target.find(config, command)
        if found is None:
            raise SpecError(f"envProcess: {WSGI}MODULE:CALLABLE, was {command!r}")
        launch = self._launch = self._launcher.launch(self._function, alone=True)
        python = sandbox.python(self._function.image.environment)
        listening = socket.create_server(("127.0.0.1", 0))
        upstream = Upstream(
            Address(host="127.0.0.1", port=listening.getsockname()[1]),
            [*launch.prefix, python, *found.command[1:]],
            environment=launch.environment,
            ready_path=config.ready_path,
            listening=listening,
            output=self._output.descriptor,
            patience=PATIENCE,
        )
        return upstream, found.config

    @property
    def _there(self) -> Upstream:
        if self._upstream is None:
            raise RuntimeError("a server is started before it is asked")
        return self._upstream
