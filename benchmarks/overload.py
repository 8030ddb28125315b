"""Load apps at capacity and at three times that, open loop: answers within the objective must stay.

Capacity is what a closed loop gets out of the app. Goodput counts answers 200 within the objective, from the intended
arrival. The generator shares the machine with the server.
"""

from __future__ import annotations

import random
import statistics
from collections import Counter

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
    for app, (latency, grain) in APPS.items():
        with _serve(app, grain) as served:
            open_loop.closed(served.port, BODY, connections=8, seconds=1.0)
            for turn in range(options.rounds):
                if not results.has(app=app, round=turn):
                    capacity = open_loop.closed(
                        served.port, BODY, connections=16, seconds=options.seconds / 5
                    )
                    for load in LOADS:
                        rng = random.Random(f"{options.seed} {turn} {load}")
                        visit = _visit(served.port, load * capacity, options.seconds, latency, rng)
                        results.add(
                            {
                                "kind": "load",
                                "round": turn,
                                "app": app,
                                "load": load,
                                "capacity": capacity,
                                **visit,
                            }
                        )
    fields = ("goodput", "answered", "p50", "p99", "refused", "late")
    rows = [
        [app, load, *(results.median(field, app=app, load=load) for field in fields)]
        for app in APPS
        for load in LOADS
    ]
    print(table(["app", "load", "goodput/s", "200/s", "p50 ms", "p99 ms", "503", "504"], rows))
    for app in APPS:
        pairs = zip(
            results.values("goodput", app=app, load=3.0),
            results.values("goodput", app=app, load=1.0),
            strict=True,
        )
        ratio = statistics.median(over / at for over, at in pairs)
        results.bar(f"{app}: goodput at 3x over goodput at capacity", ratio, at_least=BAR)


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
