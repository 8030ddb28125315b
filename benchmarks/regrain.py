"""Change the grain of an app under half of its load: how long it takes, what it costs the others, and that none fails.

Open loop at 50 % of the capacity of the finest grain, with and without changes by turns. A change is timed from the
command (POST /grain) to the answer, which comes when the new plan is in force; the next one begins a while after that.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from benchmarks import open_loop, processes, product
from benchmarks.admin import Changer
from benchmarks.record import Results, arguments, table

LOAD = 0.5
DEADLINE = "10s"
"""So that nothing is shed for being late: what fails here, a change has failed."""
PAUSE = 0.5
"""Seconds between the end of a change, the old plan's processes gone, and the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An app, what it is asked and how an answer ends, and the grains that it changes between."""

    name: str
    app: Path
    body: bytes
    ends: bytes
    grains: tuple[str, ...]


def main() -> None:
    options = arguments("regrain", __doc__ or "", rounds=3, seconds=20.0).parse_args()
    results = Results.open("regrain", options)
    for case in _cases():
        with _serve(case) as ports:
            capacity = _capacity(ports[0], case, options.seconds / 5)
            for turn in range(options.rounds):
                for changing in (False, True):
                    if not results.has(app=case.name, changing=changing, round=turn):
                        rng = random.Random(f"{options.seed} {turn} {changing}")
                        key = {"kind": "load", "app": case.name, "round": turn, "changing": changing}
                        visit = _visit(ports, case, capacity * LOAD, options.seconds, rng, changing=changing)
                        results.add({**key, "capacity": capacity, **visit})
    _report(results)


def _report(results: Results) -> None:
    fields = ("requests", "failed", "p50", "p99", "changes", "in_force")
    rows = [
        [case.name, changing, *(results.median(name, app=case.name, changing=changing) for name in fields)]
        for case in _cases()
        for changing in (False, True)
    ]
    print(
        table(["app", "changing", "requests", "failed", "p50 ms", "p99 ms", "changes", "in force ms"], rows)
    )
    results.bar("requests that failed", sum(results.values("failed", kind="load")), at_most=0)
    results.bar("changes that did", sum(results.values("changes", kind="load")), at_least=1)
    results.bar("changes that failed", sum(results.values("refused", kind="load")), at_most=0)


def _cases() -> Iterator[Case]:
    middle = "make+second | third+fourth | count"
    yield Case(
        name="chain",
        app=product.APPS / "chain.py",
        body=b"1000",
        grains=("fine", "coarse", middle),
        ends=b"1000",
    )
    import skimage  # for its picture

    picture = (Path(skimage.__file__).parent / "data" / "coffee.png").read_bytes()
    middle = "decode+prepare | classify | embed | join"
    yield Case(
        name="vision",
        app=product.EXAMPLES / "vision",
        body=picture,
        grains=("fine", "coarse", middle),
        ends=b"}",
    )


@contextlib.contextmanager
def _serve(case: Case) -> Iterator[tuple[int, int]]:
    """Serve a case at its first grain; yields its port and its admin port."""
    port = processes.free_ports(2)
    flags = ["--admin-port", str(port + 1), "--slo", DEADLINE]
    command = [*product.command(case.app, port=port, grain=case.grains[0]), *flags]
    with processes.Served([command], port=port, name="regrain") as served:
        served.wait(processes.Request(case.body), lambda data: data.strip().endswith(case.ends))
        yield port, port + 1


def _capacity(port: int, case: Case, seconds: float) -> float:
    open_loop.closed(port, case.body, connections=8, seconds=1.0)
    return open_loop.closed(port, case.body, connections=8, seconds=max(1.0, seconds))


def _visit(
    ports: tuple[int, int], case: Case, rate: float, seconds: float, rng: random.Random, *, changing: bool
) -> dict[str, float]:
    """Load the app for a while; return what became of the requests (ms) and of the changes (ms)."""
    arrivals = [(at, case.body) for at in open_loop.poisson(rate, seconds, rng)]
    changer = Changer(ports[1], (*case.grains[1:], case.grains[0]), lambda: PAUSE)
    if changing:
        changer.start()
    sent = open_loop.drive(ports[0], arrivals)
    changer.stop()
    latencies = sorted(one.latency for one in sent)
    took = changer.took
    return {
        "requests": len(sent),
        "failed": sum(one.status != HTTPStatus.OK for one in sent),
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
        "changes": len(took),
        "refused": len(changer.refused),
        "in_force": took[len(took) // 2] * 1e3 if took else 0.0,
        "in_force_most": took[-1] * 1e3 if took else 0.0,
    }


if __name__ == "__main__":
    main()
