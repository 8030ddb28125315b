"""Mix requests that end their replica's process into half a load of good ones: only those may fail.

Each poisoned request ends two replicas and is answered 502; all others are answered. Open loop, one replica.
"""

from __future__ import annotations

import random
from collections import Counter

from benchmarks import open_loop, processes, product
from benchmarks.record import Results, arguments, table

GOOD = b"request"
POISON = b"poison"
LOAD = 0.5
SHARES = (0.01, 0.1)
"""Of the good requests' rate, that of poisoned ones."""


def main() -> None:
    options = arguments("poison", __doc__ or "", rounds=3, seconds=10.0).parse_args()
    results = Results.open("poison", options)
    with _serve() as served:
        open_loop.closed(served.port, GOOD, connections=8, seconds=1.0)
        capacity = open_loop.closed(served.port, GOOD, connections=8, seconds=options.seconds / 5)
        for turn in range(options.rounds):
            for share in SHARES:
                if not results.has(share=share, round=turn):
                    rng = random.Random(f"{options.seed} {turn} {share}")
                    visit = _visit(served.port, capacity * LOAD, share, options.seconds, rng)
                    results.add(
                        {"kind": "load", "round": turn, "share": share, "capacity": capacity, **visit}
                    )
    fields = ("good", "good_failed", "poisoned", "poisoned_not_502", "p50", "p99")
    rows = [[share, *(results.median(field, share=share) for field in fields)] for share in SHARES]
    print(table(["poisoned", "good", "failed", "poison", "not 502", "p50 ms", "p99 ms"], rows))
    for name, field in (
        ("good requests that failed", "good_failed"),
        ("poisoned ones not 502", "poisoned_not_502"),
    ):
        results.bar(name, sum(results.values(field, kind="load")), at_most=0)


def _serve() -> processes.Served:
    port = processes.free_ports(1)
    command = product.command(f"{product.APPS / 'timed.py'}:mortal", port=port)
    served = processes.Served([command], port=port, name="poison")
    served.wait(processes.Request(GOOD), lambda data: data.strip() == str(len(GOOD)).encode())
    return served


def _visit(port: int, rate: float, share: float, seconds: float, rng: random.Random) -> dict[str, float]:
    good = [(at, GOOD) for at in open_loop.poisson(rate, seconds, rng)]
    poisoned = [(at, POISON) for at in open_loop.poisson(rate * share, seconds, rng)]
    sent = open_loop.drive(port, sorted(good + poisoned))
    latencies = sorted(one.latency for one in sent if one.body == GOOD)
    statuses = Counter((one.body, one.status) for one in sent)
    return {
        "good": len(good),
        "good_failed": len(good) - statuses[GOOD, 200],
        "poisoned": len(poisoned),
        "poisoned_not_502": len(poisoned) - statuses[POISON, 502],
        "p50": latencies[len(latencies) // 2] * 1e3,
        "p99": latencies[len(latencies) * 99 // 100] * 1e3,
    }


if __name__ == "__main__":
    main()
