"""Measure how soon an app answers, and how soon a further replica of it serves.

The command: from exec of `regrain run` on examples/hello to its first answer. A replica: from the order to
start it to its first answer, through the front's own code, forked from the zygote or started as a fresh
interpreter, beside the time that its model takes to load in a process that has all imports behind it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import uvloop

from benchmarks import processes, product
from benchmarks.record import Results, arguments, table
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain_watchdog.front.content import Inputs
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.service import App
from regrain_watchdog.front.zygote import Zygote

MODEL = product.APPS / "model.py"
MEMORY = 64 << 20
COMMAND_BAR, REPLICA_BAR = 1.0, 0.1
TIMEOUT = 30.0
LOAD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import model
start = time.perf_counter()
model.classify.build()
print(time.perf_counter() - start)
"""


def main() -> None:
    options = arguments("start", __doc__ or "", rounds=9, seconds=0.0).parse_args()
    results = Results.open("start", options)
    for turn in range(options.rounds):
        if not results.has(kind="start", round=turn):
            line: dict[str, object] = {"kind": "start", "round": turn, "command": _command(), "load": _load()}
            line |= uvloop.run(_replicas())
            results.add(line)
    names = {
        "command": "exec of `regrain run examples/hello` to first answer",
        "load": "model load alone",
        "zygote": "replica from the zygote, to first answer",
        "fresh": "replica from a fresh interpreter, to first answer",
    }
    rows = [
        [title, results.median(key, kind="start") * 1e3, results.best(key, kind="start") * 1e3]
        for key, title in names.items()
    ]
    print(table(["ms", "median", "best"], rows))
    results.bar(
        "s from exec to the first answer of hello",
        results.median("command", kind="start"),
        at_most=COMMAND_BAR,
    )
    over = results.median("zygote", kind="start") - results.median("load", kind="start")
    results.bar("s of a replica from the zygote beyond its model's load", over, at_most=REPLICA_BAR)


def _command() -> float:
    port = processes.free_ports(1)
    request = processes.Request(
        json.dumps({"name": "world"}).encode(), headers={"Content-Type": "application/json"}
    )
    with processes.Served(
        [product.command(product.EXAMPLES / "hello", port=port)], port=port, name="start"
    ) as served:
        return served.wait(request, lambda data: b"world" in data)


def _load() -> float:
    """Return the seconds that building the model's stage takes in a process of its own, imports done."""
    command = [sys.executable, "-c", LOAD, str(MODEL.parent)]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **threads})
    return float(done.stdout)


async def _replicas() -> dict[str, float]:
    """Time a replica from the zygote and one from a fresh interpreter, started by the front's supervisor."""
    zygote = Zygote(str(MODEL), died=_raise, exited=lambda *_: None)
    manifest = await zygote.hello(TIMEOUT)
    found = {"zygote": await _timed(manifest, zygote)}
    zygote.unforkable = "to be compared"
    found["fresh"] = await _timed(manifest, zygote)
    await zygote.stop()
    return found


async def _timed(manifest: Manifest, zygote: Zygote) -> float:
    plan = make_plan(manifest, "coarse")
    crew = Crew(manifest, zygote, memory=MEMORY)
    app = App(plan, crew, max_queue=16, measure=Measure(latency=None), failed=_raise)
    start = time.perf_counter()
    await app.start(_sample(manifest))  # ready means that it has answered the sample
    seconds = time.perf_counter() - start
    await app.stop()
    return seconds


def _sample(manifest: Manifest) -> dict[str, object]:
    if manifest.sample is None:
        raise SystemExit("the app that is measured has no sample")
    return Inputs(manifest.parameters).read(manifest.sample.body, manifest.sample.content_type, "")


def _raise(reason: object) -> None:
    raise RuntimeError(str(reason))


if __name__ == "__main__":
    main()
