"""Load apps at capacity and at three times that, open loop: answers within the objective must stay.

Capacity is what a closed loop gets out of the app. Goodput counts answers 200 within the objective, from the intended
arrival. The generator shares the machine with the server.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks import open_loop, processes, product
from benchmarks.record import Results, arguments, table

APPS = {"single": (0.1, "coarse"), "batched": (0.15, "coarse"), "chain": (0.15, "fine")}
"""By app, its objective in seconds and its grain."""
LOADS = (1.0, 3.0)
BAR = 0.9
BODY = b"request"


def main() -> None:
    options = arguments("overload", __doc__ or "", rounds=3, seconds=10.0).parse_args()
    results = Results.open("overload", options)
    for app in APPS:
        todo = lacking(results, app, options.rounds)
        if todo:
            _measure(results, app, todo, options)
    fields = ("goodput", "answered", "p50", "p99", "refused", "late")
    rows = [
        [app, load, *(results.median(field, app=app, load=load) for field in fields)]
        for app in APPS
        for load in LOADS
    ]
    print(table(["app", "load", "goodput/s", "200/s", "p50 ms", "p99 ms", "503", "504"], rows))
    for app in APPS:
        rounds = results.values("round", app=app, load=max(LOADS))
        at, over = (
            [results.median("goodput", app=app, load=load, round=turn) for turn in rounds] for load in LOADS
        )
        ratio = statistics.median(more / less for more, less in zip(over, at, strict=True))
        results.bar(f"{app}: goodput at 3x over goodput at capacity", ratio, at_least=BAR)


def lacking(results: Results, app: str, rounds: int) -> dict[int, list[float]]:
    """Return the loads that each round of an app lacks, of the rounds that lack some."""
    loads = {
        turn: [load for load in LOADS if not results.has(kind="load", app=app, round=turn, load=load)]
        for turn in range(rounds)
    }
    return {turn: lacks for turn, lacks in loads.items() if lacks}


def _measure(
    results: Results, app: str, todo: Mapping[int, Sequence[float]], options: argparse.Namespace
) -> None:
    """Load an app; the loads of a round are parts of the same capacity, also if a run was cut between them."""
    latency, grain = APPS[app]
    with _serve(app, grain) as served:
        open_loop.closed(served.port, BODY, connections=8, seconds=1.0)
        for turn, loads in todo.items():
            known = results.values("capacity", kind="load", app=app, round=turn)
            capacity = (
                known[0]
                if known
                else open_loop.closed(served.port, BODY, connections=16, seconds=options.seconds / 5)
            )
            for load in loads:
                rng = random.Random(f"{options.seed} {turn} {load}")
                visit = _visit(served.port, load * capacity, options.seconds, latency, rng)
                key = {"kind": "load", "round": turn, "app": app, "load": load}
                results.add({**key, "capacity": capacity, **visit})


def _serve(app: str, grain: str) -> processes.Served:
    port = processes.free_ports(1)
    command = [*product.command(f"{product.APPS / 'timed.py'}:{app}", port=port, grain=grain)]
    served = processes.Served([command], port=port, name=f"overload-{app}")
    served.wait(processes.Request(BODY), lambda data: data.strip() == str(len(BODY)).encode())
    return served


def _visit(port: int, rate: float, seconds: float, latency: float, rng: random.Random) -> dict[str, float]:
    sent = open_loop.drive(port, [(at, BODY) for at in open_loop.poisson(rate, seconds, rng)])
    good = sorted(one.latency for one in sent if one.status == 200)
    statuses = Counter(one.status for one in sent)
    return {
        "offered": len(sent) / seconds,
        "goodput": sum(took <= latency for took in good) / seconds,
        "answered": len(good) / seconds,
        "p50": good[len(good) // 2] * 1e3 if good else 0.0,
        "p99": good[len(good) * 99 // 100] * 1e3 if good else 0.0,
        "refused": statuses[503],
        "late": statuses[504],
        "other": len(sent) - statuses[200] - statuses[503] - statuses[504],
    }


if __name__ == "__main__":
    main()
