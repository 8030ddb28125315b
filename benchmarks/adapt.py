"""Measure what adaptation costs the front, and how fast it follows a step of 10x, both live.

hello with `--adapt` and without takes turns under the same load, cores as in `ingress`; it may have one core, so that
the plan stays what it is while the controller learns, plans and decides as ever. The step is an open loop against an
app on an emulated GPU with a profile of `regrain profile`: from the first request at the new rate to the decision, as
its log tells it, and to the route's swap.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from benchmarks import load, machine, open_loop, processes, product
from benchmarks.admin import Admin
from benchmarks.record import Record, Results, arguments, progress, table

HELLO, SIGHTED = product.APPS / "hello.py", product.APPS / "sighted.py"
SCENARIO = product.APPS / "sighted.toml"
CONNECTIONS = 32
MODES = ("off", "on")
ALIKE = ("--slo", "10s", "--cores", "1")
"""Flags of both: an objective, which adaptation needs, has each request looked at for its deadline."""
SETTLING, SHORT = 30.0, 3.0
"""Seconds that both are loaded before anything is counted: an app that was never profiled is learned from its calls."""
LOW, STEP = 4.0, 10.0
BEFORE, AFTER = 90.0, 60.0
"""Requests a second before the step, by how much it rises, and seconds of both."""
PROFILED = "60s"
CORES = 64
"""Cores that the stepped app's plans may count on; its stages sleep."""
EVERY = 1.0
"""Seconds between two looks at the transitions."""
MISSED = (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.GATEWAY_TIMEOUT)
"""What is answered to a request that is not let in, or could not be in time any more: a miss, no failure."""
BAR = 0.95


def main() -> None:
    parser = arguments("adapt", __doc__ or "", rounds=9, seconds=5.0)
    parser.add_argument("--parts", nargs="+", choices=("front", "step"), default=("front", "step"))
    options = parser.parse_args()
    load.require_wrk()
    results = Results.open("adapt", options, free=("parts",))
    if "front" in options.parts:
        _front(results, options.rounds, options.seconds, SHORT if options.short else SETTLING)
    if "step" in options.parts:
        _steps(results, options.rounds, options.seed, short=options.short)
    _report(results)


def _front(results: Results, rounds: int, seconds: float, settling: float) -> None:
    cores = machine.two_cores()
    request = processes.Request(b"world")
    with ExitStack() as stack:
        served = {mode: stack.enter_context(_hello(mode, request, cores)) for mode in MODES}
        for server in served.values():
            load.drive(server.port, request, connections=CONNECTIONS, seconds=settling, core=cores[1])
        for turn in range(rounds):
            for mode in MODES if turn % 2 else MODES[::-1]:
                if not results.has(kind="front", round=turn, adapt=mode):
                    visit = _visit(served[mode], request, seconds, cores)
                    results.add({"kind": "front", "round": turn, "adapt": mode, **visit})
        admin = Admin(served["on"].port + 1)
        results.add({"kind": "note", "name": "replicas with adaptation on", "value": len(admin.replicas())})
        admin.close()


def _hello(mode: str, request: processes.Request, cores: tuple[int, int]) -> processes.Served:
    """Serve hello, the front on one core and all else on the other; the admin port is the next one."""
    port = processes.free_ports(2)
    command = [*product.command(HELLO, port=port), "--admin-port", str(port + 1), *ALIKE]
    command += ["--adapt"] if mode == "on" else []
    served = processes.Served([command], port=port, name=f"adapt-{mode}")
    served.wait(request, lambda data: b"world" in data)
    machine.pin(served.pids(), cores[1])
    machine.pin([served.front], cores[0])
    return served


def _visit(
    served: processes.Served, request: processes.Request, seconds: float, cores: tuple[int, int]
) -> Record:
    """Load a server; CPU of its front in microseconds per request."""
    alone = load.drive(served.port, request, connections=1, seconds=1, core=cores[1])
    before = processes.cpu_seconds([served.front])
    got = load.drive(served.port, request, connections=CONNECTIONS, seconds=seconds, core=cores[1])
    spent = (processes.cpu_seconds([served.front]) - before) / got.requests * 1e6
    if got.failed:
        raise SystemExit(f"{got.failed} of {got.requests} requests failed")
    times = {"p50": got.p50 * 1e6, "p99": got.p99 * 1e6, "p50_c1": alone.p50 * 1e6}
    return {"rps": got.rate, "front_cpu": spent, **times}


def _steps(results: Results, rounds: int, seed: int, *, short: bool) -> None:
    """Step the load up, each time on an app that starts afresh; its profile is measured once."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.json"
        for turn in range(rounds):
            if not results.has(kind="step", round=turn):
                if not profile.exists():
                    progress("profiling")
                    _profile(profile, "10s" if short else PROFILED)
                seconds = (40.0, 15.0) if short else (BEFORE, AFTER)
                log = Path(folder) / f"decisions-{turn}.jsonl"
                results.add({"kind": "step", "round": turn, **_step(profile, log, seconds, f"{seed} {turn}")})


def _profile(out: Path, seconds: str) -> None:
    command = [sys.executable, "-m", "regrain_watchdog.cli", "profile", str(SIGHTED), "--out", str(out)]
    flags = ["--time", seconds, "--gpus", "emulated:v100", "--scenario", str(SCENARIO)]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, cwd=processes.ROOT)
    if done.returncode:
        raise SystemExit(f"the profile failed: {done.stderr[-2000:]}")


def _step(profile: Path, log: Path, seconds: tuple[float, float], seed: str) -> Record:
    """Return times in seconds from the step, and what became of the requests."""
    rng = random.Random(seed)
    before, after = seconds
    times = list(open_loop.poisson(LOW, before, rng))
    times += [before + at for at in open_loop.poisson(STEP * LOW, after, rng)]
    port = processes.free_ports(2)
    flags = ["--admin-port", str(port + 1), "--adapt", "--profile", str(profile), "--decision-log", str(log)]
    flags += ["--gpus", "emulated:v100", "--scenario", str(SCENARIO), "--cores", str(CORES)]
    request = processes.Request(b"a picture")
    with processes.Served([[*product.command(SIGHTED, port=port), *flags]], port=port, name="step") as served:
        served.wait(request, lambda data: data == b"9")
        with _Transitions(port + 1) as seen:
            sent = open_loop.drive(port, [(at, request.body) for at in times])
    begin = statistics.median(one.ended - one.latency - one.at for one in sent)
    step = begin + before + time.time() - time.monotonic()
    late = [one for one in sent if one.at >= before]
    statuses = Counter(int(one.status) for one in sent)
    decided = _decided(log)
    fine = {int(HTTPStatus.OK), *map(int, MISSED)}
    return {
        **followed(step, decided, seen.changes()),
        "switches": len(decided),
        "requests": len(sent),
        "statuses": {str(status): count for status, count in statuses.items()},
        "failed": sum(count for status, count in statuses.items() if status not in fine),
        "hit_rate": round(
            sum(one.status == HTTPStatus.OK and one.latency <= 0.3 for one in late) / len(late), 4
        ),
    }


def followed(step: float, decided: Mapping[float, float], changes: Mapping[float, float | None]) -> Record:
    """Return when the first decision after the step fell, when its plan was in force, and what that took, in seconds.

    A change may go over smaller plans: it is in force with the last of those that came before the next decision.
    `loads` is what it took in all, `slowest` the longest that a replica which it starts loads, by the profile.

    Args:
        step: all in unix seconds.
        decided: each decision for another plan, and the slowest load that it told of, in seconds.
        changes: each change of plan, from its begin to when it was in force; None where it has failed.
    """
    first, following = [*(at for at in sorted(decided) if at >= step), math.inf, math.inf][:2]
    found: Record = {"decided": None, "in_force": None, "loads": None, "slowest": None}
    if first == math.inf:
        return found
    found |= {"decided": round(first - step, 3), "slowest": round(decided[first], 3)}
    begun = [at for at in sorted(changes) if first <= at + EVERY / 2 < following]
    ends = [end for at in begun if (end := changes[at]) is not None]
    if begun and len(ends) == len(begun):
        found |= {"in_force": round(ends[-1] - step, 3), "loads": round(ends[-1] - begun[0], 3)}
    return found


def _decided(log: Path) -> dict[float, float]:
    """Return when decisions for another plan were written down, and the slowest load that each told of."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {
        one["time"]: next(
            told["seconds"] for told in decision["candidates"] if told["plan"] == decision["plan"]
        )
        for one in lines
        if one["kind"] == "decision" and (decision := one["decision"])["plan"]
    }


class _Transitions:
    """Keeps the transitions of an app, of which the status tells the last few, while it is entered."""

    def __init__(self, port: int) -> None:
        self._admin = Admin(port)
        self._found: dict[float, float | None] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Transitions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._admin.close()

    def changes(self) -> dict[float, float | None]:
        """Return when each plan came into force, None if it failed to, by when the change began, in unix seconds."""
        return dict(sorted(self._found.items()))

    def _watch(self) -> None:
        while not self._end.wait(EVERY):
            self._look()
        self._look()

    def _look(self) -> None:
        for one in self._admin.status()["transitions"]:
            if one["state"] in ("draining", "done", "failed"):
                at = float(str(one["at"]))
                self._found[at] = at + float(str(one["seconds"])) if one["state"] != "failed" else None


def _report(results: Results) -> None:
    fields = ("rps", "front_cpu", "p50", "p99", "p50_c1")
    rows = [[mode, *(results.median(name, kind="front", adapt=mode) for name in fields)] for mode in MODES]
    print(table(["adapt", "rps", "front CPU us", "p50 us", "p99 us", "p50 us c1"], rows))
    pairs = list(zip(*(results.values("rps", kind="front", adapt=mode) for mode in MODES), strict=False))
    if pairs:
        ratios = [on / off for off, on in pairs]
        results.add(
            {"kind": "note", "name": "ratios by round", "value": [round(one, 3) for one in sorted(ratios)]}
        )
        results.bar(
            "rps with adaptation on over off, median of rounds", statistics.median(ratios), at_least=BAR
        )
    steps = [one for one in results.lines if one["kind"] == "step"]
    if steps:
        step_bars(results, steps)


def step_bars(results: Results, steps: Sequence[Record]) -> None:
    """Hold steps to their bars; a row of before, which does not tell the slowest load, as if nothing had to load."""
    never = float("inf")
    decided = [float(str(one["decided"])) if one["decided"] is not None else never for one in steps]
    beyond = [
        float(str(one["in_force"])) - float(str(one.get("slowest", 0.0)))
        if one["in_force"] is not None
        else never
        for one in steps
    ]
    results.bar(f"step: decided, s, worst of {len(steps)}", max(decided), at_most=2.0)
    results.bar("step: in force, s beyond the slowest load, worst", max(beyond), at_most=3.0)
    results.bar("step: requests that failed", sum(int(str(one["failed"])) for one in steps), at_most=0)


if __name__ == "__main__":
    main()
