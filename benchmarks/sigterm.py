"""End a server with SIGTERM under load, over and over, and count the accepted requests that were lost.

An app of ours, and a Flask function behind `regrain run` and behind of-watchdog, once under gunicorn, which ends in
order, and once under Flask's own server, which dies of SIGTERM at once. of-watchdog's binary is named by OF_WATCHDOG
(https://github.com/openfaas/of-watchdog); without it its turn is left out. Half of the callers keep their connection,
half open one for each request. Lost: the connection was accepted, the request sent whole, and no whole answer came.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks import processes, product
from benchmarks.record import Results, arguments, progress, table

CALLERS = 8
"""Of each kind."""
FUNCTIONS = ("app", "gunicorn", "flask")
NOTICE = 0.5
"""Seconds between SIGTERM and the end of accepting (healthcheck_interval), as load balancers need them."""
PATIENCE = 15.0
BODY = b"world"
AGAIN = 0.05
"""Seconds that a caller waits after what went wrong, as long as an answer takes."""


class Fate(StrEnum):
    """What became of a request."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """A whole answer came, but another one than 200 and the right body."""
    LOST = "lost"
    UNSENT = "unsent"
    """The connection ended before the request was sent whole: nobody has accepted it."""


class GoneError(Exception):
    """Nobody listens any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A server: what stands in front, and of which function."""

    server: str
    function: str

    @property
    def path(self) -> str:
        """Where an answer takes 50 ms."""
        return "/" if self.function == "app" else "/slow"


def main() -> None:
    options = arguments("sigterm", __doc__ or "", rounds=10, seconds=1.0).parse_args()
    binary = os.environ.get("OF_WATCHDOG", "")
    if not binary:
        print("of-watchdog: left out; set OF_WATCHDOG to its binary", flush=True)
    results = Results.open("sigterm", options)
    cases = [Case(server="regrain", function=function) for function in FUNCTIONS]
    if binary:
        cases += [Case(server="of-watchdog", function=function) for function in FUNCTIONS[1:]]
    for turn in range(options.rounds):
        for case in cases if turn % 2 == 0 else cases[::-1]:
            key = {"round": turn, "server": case.server, "function": case.function}
            if not results.has(**key):
                progress(f"round {turn}: {case.server}, {case.function}")
                results.add({"kind": "end", **key, **_visit(case, binary, options.seconds)})
    _report(results, cases)


def _report(results: Results, cases: list[Case]) -> None:
    fields = ("answered_after", *(f"{how}_{fate}" for how in ("kept", "fresh") for fate in Fate))
    rows = []
    for case in cases:
        key = {"server": case.server, "function": case.function}
        rows.append([*key.values(), *(sum(results.values(field, **key)) for field in fields)])
    print(table(["server", "function", *(field.replace("_", " ") for field in fields)], rows))
    for fate, what in ((Fate.LOST, "lost"), (Fate.REFUSED, "answered otherwise")):
        totals = {
            server: sum(sum(results.values(f"{how}_{fate}", server=server)) for how in ("kept", "fresh"))
            for server in {case.server for case in cases}
        }
        results.bar(f"accepted requests {what} by regrain run", totals["regrain"], at_most=0)
        if "of-watchdog" in totals:
            name = f"accepted requests {what} by of-watchdog"
            results.add({"kind": "note", "name": name, "value": totals["of-watchdog"]})


def _visit(case: Case, binary: str, seconds: float) -> dict[str, float]:
    """Load a server for a while, end it, and go on until it refuses connections."""
    port = processes.free_ports(3, 18500)
    command, env = _command(case, binary, port)
    with processes.Served([command], port=port, env=[env], name=f"sigterm-{case.server}") as served:
        request = processes.Request(BODY, path=case.path)
        served.wait(request, lambda data: _is_right(case, data))
        with concurrent.futures.ThreadPoolExecutor(2 * CALLERS) as pool:
            callers = [Caller(case, port, keeps=keeps) for keeps in (True, False) for _ in range(CALLERS)]
            calling = [pool.submit(caller.run) for caller in callers]
            time.sleep(seconds)
            before = sum(caller.fates[Fate.ANSWERED] for caller in callers)
            began = time.monotonic()
            os.kill(served.front, signal.SIGTERM)
            for one in calling:
                one.result()
        code, took = _ended(served, began)
    kinds = {
        f"{how}_{fate}": sum(caller.fates[fate] for caller in callers if caller.keeps is keeps)
        for how, keeps in (("kept", True), ("fresh", False))
        for fate in Fate
    }
    after = sum(caller.fates[Fate.ANSWERED] for caller in callers) - before
    said = Counter(text for caller in callers for text in caller.said)
    return {
        **kinds,
        "answered_after": after,
        "said": dict(said.most_common(3)),
        "exit_code": code,
        "took": took,
    }


def _ended(served: processes.Served, began: float) -> tuple[int, float]:
    """Return the exit code of a server that was told to end, and the seconds that it took."""
    try:
        return served.end(PATIENCE), time.monotonic() - began
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL, PATIENCE


def _command(case: Case, binary: str, port: int) -> tuple[list[str], Mapping[str, str]]:
    """The command of a server and the variables that it needs; both watchdogs are set by of-watchdog's own."""
    inner, metrics = port + 1, port + 2
    if case.function == "app":
        command = product.command(f"{product.APPS / 'timed.py'}:slow", port=port)
        return [*command, "--replicas", str(CALLERS), "--healthcheck-interval", f"{NOTICE}s"], {}
    python = f"{sys.executable} -m "
    function = {
        "gunicorn": f"gunicorn --worker-class gthread --threads {2 * CALLERS} --no-control-socket "
        f"--bind 127.0.0.1:{inner} benchmarks.apps.flask_hello:app",
        "flask": f"flask --app benchmarks.apps.flask_hello run --port {inner}",
    }
    env = {"mode": "http", "fprocess": python + function[case.function], "port": str(port)}
    env |= {"upstream_url": f"http://127.0.0.1:{inner}", "suppress_lock": "false", "write_timeout": "5s"}
    env |= {"healthcheck_interval": f"{NOTICE}s", "REGRAIN_METRICS_PORT": str(metrics), "TMPDIR": "/tmp"}
    regrain = [sys.executable, "-m", "regrain_watchdog.cli", "run"]
    return ([binary] if case.server == "of-watchdog" else regrain), env


def _is_right(case: Case, answer: bytes) -> bool:
    return answer.strip() == (str(len(BODY)).encode() if case.function == "app" else BODY)


class Caller:
    """Sends one request after another until nobody listens any more.

    Attributes:
        fates: how many requests ended in which way.
        said: what came in place of right answers.
    """

    def __init__(self, case: Case, port: int, *, keeps: bool) -> None:
        self.keeps = keeps
        self.fates: Counter[Fate] = Counter()
        self.said: list[str] = []
        self._case = case
        self._port = port
        head = f"POST {case.path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
        close = "" if keeps else "Connection: close\r\n"
        self._request = f"{head}Content-Length: {len(BODY)}\r\n{close}\r\n".encode() + BODY
        self._open: socket.socket | None = None

    def run(self) -> None:
        try:
            while True:
                fate = self._call()
                self.fates[fate] += 1
                if fate is not Fate.ANSWERED:
                    time.sleep(AGAIN)
        except GoneError:
            return

    def _call(self) -> Fate:
        try:
            connection = self._open or self._connect()
        except ConnectionResetError:
            return Fate.UNSENT
        self._open = None
        try:
            connection.sendall(self._request)
        except OSError:
            connection.close()
            return Fate.UNSENT
        try:
            status, answer, stays = _answer(connection)
        except (OSError, EOFError) as error:
            self.said.append(repr(error))
            connection.close()
            return Fate.LOST
        if self.keeps and stays:
            self._open = connection
        else:
            connection.close()
        if status == 200 and _is_right(self._case, answer):
            return Fate.ANSWERED
        self.said.append(f"{status} {answer[:120]!r}")
        return Fate.REFUSED

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", self._port), timeout=PATIENCE)
        except ConnectionRefusedError:
            raise GoneError from None


def _answer(connection: socket.socket) -> tuple[int, bytes, bool]:
    """Return status and body of an answer, and whether the connection stays; EOFError where it is not whole."""
    with connection.makefile("rb") as file:
        status = int(_line(file.readline()).split()[1])
        length, stays = 0, True
        while line := _line(file.readline()).strip().lower():
            name, _, text = line.partition(b":")
            length = int(text) if name == b"content-length" else length
            stays = stays and not (name == b"connection" and text.strip() == b"close")
        body = file.read(length)
    if len(body) < length:
        raise EOFError("the connection ended within an answer")
    return status, body, stays


def _line(line: bytes) -> bytes:
    if not line.endswith(b"\n"):
        raise EOFError("the connection ended without an answer" if not line else "... within a head")
    return line


if __name__ == "__main__":
    main()
