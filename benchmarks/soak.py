"""Serve mixed load for a long while, the grain changing meanwhile: memory and descriptors must stay where they are.

Two apps, benchmarks/apps/mixed.py and examples/stream; JSON, arrays, bodies of 600 KB, streams, gRPC, the Open
Inference Protocol, wrong values, malformed requests, callers that go away. Every ten seconds a sample, every thirty a
change of both grains, never at once. Grains differ in what they need, so a slope is one among the samples of one grain:
the median of the slopes between all pairs (Theil and Sen), over the last half of the run. A run is one piece: --resume
judges one that is complete, and begins any other anew.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from benchmarks import machine, processes, product
from benchmarks.admin import Admin, gauge
from benchmarks.callers import Callers
from benchmarks.record import Record, Results, arguments, progress, table
from regrain_watchdog.picture import chart

SAMPLE, CHANGE = 10.0, 30.0
"""Seconds between two samples, and between two changes of grain."""
SHORT = 12.0
"""Seconds of the short form, which samples and changes twenty times as often."""
CALLERS = 6
FLAT = 0.03
"""Growth over the last half of the run, as a share of what there is, at most."""
PICTURE = processes.ROOT / "docs" / "pictures" / "soak.svg"
GRAINS = (("fine", "fine"), ("coarse", "coarse"), ("scale+shift | tell", "fine"))
"""Of the two apps, one pair after the other."""
WATCHED = {
    "pss_mib": "PSS",
    "front_mib": "PSS of the fronts",
    "descriptors": "descriptors",
    "segments": "segments",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where an app listens."""

    http: int
    admin: int
    metrics: int
    grpc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An app as it runs."""

    served: processes.Served
    ports: Ports


def main() -> None:
    parser = arguments("soak", __doc__ or "", rounds=1, seconds=0.0)
    parser.add_argument("--minutes", type=float, default=20.0, help="of load, default 20")
    parser.add_argument("--picture", type=Path, help="SVG, default docs/pictures/soak.svg unless --short")
    options = parser.parse_args()
    results = Results.open("soak", options)
    if options.resume and not results.has(kind="load"):
        options.resume = False
        results = Results.open("soak", options)
    if not results.has(kind="load"):
        _measure(results, options)
    _report(results, options)


def _measure(results: Results, options: argparse.Namespace) -> None:
    """Serve the load, a row for each sample; the last row tells what was sent, and that the run is complete."""
    seconds, faster = (SHORT, 20.0) if options.short else (options.minutes * 60, 1.0)
    with (
        _serve("mixed", product.APPS / "mixed.py") as mixed,
        _serve("stream", product.EXAMPLES / "stream") as other,
    ):
        callers = Callers(
            mixed.ports.http, mixed.ports.grpc, other.ports.http, count=CALLERS, seed=options.seed
        )
        callers.start()
        try:
            for sample in _samples((mixed, other), seconds, SAMPLE / faster, CHANGE / faster):
                wrong = callers.wrong.total()
                results.add({"kind": "sample", **sample, "requests": callers.sent.total(), "wrong": wrong})
        finally:
            callers.stop()
    told = {"sent": dict(callers.sent), "wrong": dict(callers.wrong.most_common(10))}
    results.add({"kind": "load", **told, "wrong_in_all": callers.wrong.total()})


@contextlib.contextmanager
def _serve(name: str, app: Path) -> Iterator[Server]:
    port = processes.free_ports(4)
    ports = Ports(http=port, admin=port + 1, metrics=port + 2, grpc=port + 3)
    flags = ["--admin-port", str(ports.admin), "--metrics-port", str(ports.metrics)]
    flags += [
        "--grpc-port",
        str(ports.grpc),
        "--header-timeout",
        "5s",
        "--body-timeout",
        "5s",
        "--slo",
        "10s",
    ]
    command = [*product.command(app, port=port, grain="fine"), *flags]
    with processes.Served([command], port=port, name=f"soak-{name}") as served:
        body = b'{"values": [1]}' if name == "mixed" else b'{"about": "rain"}'
        served.wait(processes.Request(body, headers={"Content-Type": "application/json"}), bool)
        yield Server(served=served, ports=ports)


def _samples(servers: Sequence[Server], seconds: float, every: float, change: float) -> Iterator[Record]:
    """Look now and then, and change the grains now and then, until the time is over."""
    began = time.monotonic()
    grains = itertools.cycle((*GRAINS[1:], GRAINS[0]))
    grain, changed, changes, refused = GRAINS[0], 0.0, 0, 0
    for at in itertools.count(1):
        if at * every > seconds:
            return
        time.sleep(max(0.0, began + at * every - time.monotonic()))
        yield {
            "seconds": time.monotonic() - began,
            "grain": " / ".join(grain),
            "changes": changes,
            "refused": refused,
            **_held(servers),
        }
        if at * every - changed >= change:
            grain, changed = next(grains), at * every
            progress(f"{at * every:.0f} of {seconds:.0f} s: {grain[0]}, {grain[1]}")
            made = [_change(server, wanted) for server, wanted in zip(servers, grain, strict=True)]
            changes += sum(made)
            refused += len(made) - sum(made)


def _change(server: Server, grain: str) -> bool:
    with contextlib.closing(Admin(server.ports.admin)) as admin:
        change = admin.regrain(grain)
        admin.settle()
    if not change.is_made:
        progress(f"refused: {change.said}")
    return change.is_made


def _held(servers: Sequence[Server]) -> dict[str, float]:
    pids = [pid for server in servers for pid in server.served.pids()]
    fronts = [server.served.front for server in servers]
    memory = {
        state: sum(
            gauge(server.ports.metrics, "regrain_shared_memory_bytes", state=state) for server in servers
        )
        for state in ("in_use", "held")
    }
    return {
        "pss_mib": processes.memory(pids)[0] / machine.MEBIBYTE,
        "front_mib": processes.memory(fronts)[0] / machine.MEBIBYTE,
        "descriptors": processes.descriptors(pids),
        "segments": processes.segments(pids),
        "processes": len(pids),
        **memory,
    }


def _report(results: Results, options: argparse.Namespace) -> None:
    samples = [line for line in results.lines if line["kind"] == "sample"]
    load = next(line for line in results.lines if line["kind"] == "load")
    sent, kinds = (cast("dict[str, int]", load[name]) for name in ("sent", "wrong"))
    wrong = load.get("wrong_in_all", sum(kinds.values()))  # runs of before told of the ten most common alone
    print(table(["kind", "requests"], sorted(sent.items())))
    results.bar("requests that came out otherwise than they should", float(str(wrong)), at_most=0)
    results.bar("changes of grain that were refused", float(str(samples[-1]["refused"])), at_most=0)
    for field, what in WATCHED.items():
        name, growth = f"{what}: growth over the last half, as a share", _growth(samples, field)
        if options.short:  # nothing has come to rest in seconds
            results.add({"kind": "note", "name": name, "value": growth})
        else:
            results.bar(name, growth, at_most=FLAT)
    picture = options.picture or (None if options.short else PICTURE)
    if picture:
        picture.write_text(_picture(samples), encoding="utf-8")


def _growth(samples: Sequence[Record], field: str) -> float:
    """Return the steepest growth of all grains over the last half of the run, as a share of the median."""
    late = samples[len(samples) // 2 :]
    span = _number(late[-1], "seconds") - _number(late[0], "seconds")
    middle = statistics.median(_number(sample, field) for sample in late)
    growths = [0.0]
    for grain in {sample["grain"] for sample in late}:
        points = [(_number(one, "seconds"), _number(one, field)) for one in late if one["grain"] == grain]
        slopes = [
            (above - below) / (after - before)
            for (before, below), (after, above) in itertools.combinations(points, 2)
        ]
        if slopes:
            growths.append(statistics.median(slopes) * span / middle)
    return max(growths)


def _number(sample: Record, field: str) -> float:
    return float(str(sample[field]))


def _picture(samples: Sequence[Record]) -> str:
    def values(field: str) -> list[float]:
        return [_number(sample, field) for sample in samples]

    minutes = [second / 60 for second in values("seconds")]

    def panel(title: str, fields: dict[str, str]) -> chart.Panel:
        lines = {name: chart.over(minutes, values(field)) for name, field in fields.items()}
        return chart.Panel(title=title, lines=lines, unit="min")

    memory = panel("Memory (PSS, MiB)", {"all processes": "pss_mib", "both fronts": "front_mib"})
    counts = panel(
        "Descriptors, segments of shared memory", {"descriptors": "descriptors", "segments": "segments"}
    )
    return chart.svg([memory, counts])


if __name__ == "__main__":
    main()
