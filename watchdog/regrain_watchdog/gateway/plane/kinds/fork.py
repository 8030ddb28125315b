"""A function that is a command: a process for each request, its body on stdin and the answer from stdout.

As OpenFaaS' classic watchdog does it; what a request says is in the variables Http_*.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus

from regrain.errors import RequestError, SpecError
from regrain_watchdog.front import body
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.reply import RETRY_AFTER
from regrain_watchdog.front.upstream.gate import Gate
from regrain_watchdog.front.upstream.heads import go_duration
from regrain_watchdog.gateway.plane import wishes
from regrain_watchdog.gateway.plane.instance import Clear, Tally
from regrain_watchdog.gateway.plane.launch import Launch, Launcher
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Function
from regrain_watchdog.spawned import PIPE, Spawned, spawn

AT_ONCE = 64
"""Processes of a function at once, where `max_inflight` does not say; further requests wait in line."""
COMMANDS = ("fprocess", "function_process")
PIECE = 1 << 16
PLAIN = "text/plain; charset=utf-8"
OCTETS = "application/octet-stream"
PROXY = "Http_Proxy"
"""What the header Proxy would be called: many programs would send their own requests there (https://httpoxy.org)."""


class ForkInstance:
    """One version of a command. Replicas are a number and nothing more, as there is a process for each request."""

    def __init__(self, function: Function, launcher: Launcher, output: Output) -> None:
        self.admin = None
        self.measure = None
        self._function = function
        self._launcher = launcher
        self._output = output
        self._running: set[Spawned] = set()
        self._starting = 0
        self._started = asyncio.Event()
        self._is_over = False
        self._command: list[str] = []
        self._launch: Launch | None = None
        self._replicas = 0

    async def start(self, replicas: int, clear: Clear) -> None:  # noqa: ARG002 - it has no port of its own
        """Read the settings."""
        wanted = self._function.deployment
        self._config = wishes.config(wanted, replicas)
        self._timeout = _timeout(wanted.env_vars, self._config.exec_timeout)
        places = wanted.env_vars.get("max_inflight", "0")
        if not places.isdecimal():
            raise SpecError(f"envVars.max_inflight: a whole number, was {places!r}")
        self._gate = Gate(int(places) or self._config.max_inflight or AT_ONCE, self._config.max_queue)
        launch = self._launch = self._launcher.launch(self._function, alone=True)
        named = next((text for name in COMMANDS if (text := wanted.env_vars.get(name, ""))), "")
        self._command = launch.literal(wanted.env_process or named).split()
        if not self._command:
            raise SpecError("envProcess: the command that answers a request is missing")
        self._replicas = replicas

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        config = self._config
        sent = await body.read(proto, scope.headers, limit=config.max_body, timeout=config.body_timeout)
        now = asyncio.get_running_loop().time()
        deadline = now + self._timeout if self._timeout else float("inf")
        await self._gate.enter(deadline, now, 0)
        try:
            code, answer = await self._run(scope, sent)
        finally:
            self._gate.leave()
        if code:
            self._output.say(f"{_stamp()} {self._command[0]} ended with {_ended(code)}")
        status = HTTPStatus.INTERNAL_SERVER_ERROR if code else HTTPStatus.OK
        media = self._function.deployment.env_vars.get("content_type", "") or scope.headers.get(
            "content-type", OCTETS
        )
        proto.response_bytes(status, [("content-type", PLAIN if code else media)], answer)

    async def scale(self, replicas: int) -> None:
        """Have so many replicas, in name."""
        self._replicas = replicas

    async def stop(self) -> None:
        """End what runs; who waits for a turn is refused."""
        self.kill()
        while self._starting:  # whoever starts one ends it, too
            self._started.clear()
            await self._started.wait()
        for process in list(self._running):
            await process.wait()
        if self._launch is not None:
            await self._launch.end()

    def kill(self) -> None:
        """End what runs at once, and start nothing more."""
        self._is_over = True
        for process in self._running:
            _kill(process)

    def tally(self) -> Tally:
        """Return how many replicas were asked for."""
        return Tally(replicas=self._replicas, available=self._replicas)

    def pids(self) -> list[int]:
        """Return the processes of the requests that are under way."""
        return [process.pid for process in self._running]

    async def _run(self, scope: Scope, sent: bytes) -> tuple[int, bytes]:
        """Run the command on a body; return its exit code and what it wrote. RequestError as for `Instance`."""
        began = time.monotonic()
        process = await self._spawned(scope)
        try:
            self._require()  # it may have ended meanwhile
            async with asyncio.timeout(self._timeout or None):
                answer, _ = await asyncio.gather(self._taken(process), _given(process, sent))
                code = await process.wait()
        except TimeoutError as error:
            detail = f"the function did not answer within {self._timeout:g} s"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail) from error
        finally:
            _kill(process)
            await process.end()
            self._running.discard(process)
        seconds = time.monotonic() - began
        self._output.say(f"{_stamp()} Wrote {len(answer)} Bytes - Duration: {seconds:.6f}s")
        return code, answer

    async def _spawned(self, scope: Scope) -> Spawned:
        """Start the command for a request. RequestError as for `_require`."""
        launch = self._launch
        if launch is None:
            raise RuntimeError("a command is started before it is asked")
        self._require()
        self._output.say(f"{_stamp()} Forking fprocess.")
        self._starting += 1
        try:
            process = await spawn(
                *launch.prefix,
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=self._output.descriptor,
                env={**launch.environment, **variables(scope)},
                cwd="/",
                start_new_session=True,
            )
            self._running.add(process)
        finally:
            self._starting -= 1
            self._started.set()
        return process

    def _require(self) -> None:
        """RequestError (503) once the version has ended."""
        if self._is_over:
            detail = "this version of the function has ended"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=RETRY_AFTER)

    async def _taken(self, process: Spawned) -> bytes:
        """Return what a process writes; RequestError (502) where that is too much."""
        if process.stdout is None:
            raise RuntimeError("a process was started without an output")
        answer = bytearray()
        limit = self._config.max_body
        while data := await process.stdout.read(PIECE):
            answer += data
            if len(answer) > limit:
                raise RequestError(
                    HTTPStatus.BAD_GATEWAY, f"the function's answer has more than {limit} bytes (max_body)"
                )
        return bytes(answer)


def variables(scope: Scope) -> dict[str, str]:
    """Return what a request says as variables; what no variable can hold is left out.

    A header that is called as a part of the request, such as `Path`, does not stand in for it.
    """
    found = {
        "Http_" + "_".join(part.capitalize() for part in name.split("-")): text
        for name, text in scope.headers.items()
    }
    found.pop("Http_Query", None)
    if scope.query_string:
        found["Http_Query"] = scope.query_string
    length = scope.headers.get("content-length", "")
    if length:
        found["Http_ContentLength"] = length
    found |= {"Http_Method": scope.method, "Http_Path": scope.path}
    found.pop(PROXY, None)
    return {name: text for name, text in found.items() if "\0" not in text and "=" not in name}


async def _given(process: Spawned, sent: bytes) -> None:
    """Write a body to a process, which need not read it."""
    if process.stdin is None:
        return
    with contextlib.suppress(ConnectionError):
        process.stdin.write(sent)
        await process.stdin.drain()
    process.stdin.close()
    with contextlib.suppress(ConnectionError):
        await process.stdin.wait_closed()


def _kill(process: Spawned) -> None:
    """End a process and what it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _timeout(environment: Mapping[str, str], default: float) -> float:
    """Return the seconds that a process may take, 0 for any time."""
    text = environment.get("exec_timeout", "")
    if not text:
        return default
    seconds = float(text) if text.isdecimal() else go_duration(text)
    if seconds is None:
        raise SpecError(f'envVars.exec_timeout: seconds or a Go duration such as "1m30s", was {text!r}')
    return seconds


def _stamp() -> str:
    return datetime.now().strftime("%Y/%m/%d %H:%M:%S")


def _ended(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
