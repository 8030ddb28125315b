"""Hold the planner's fluid plan against its best one without a pool, both live on emulated GPUs under the same load.

The app is shaped like reading pages: stages on the CPU, one on a GPU, and one over a list of each request. It is
profiled as its operator does; the planner judges by replay of one draw of requests, another draw is sent. The plans are
the cheapest that meet the objective with the batches that the command line gives them: as large as stages declare.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import processes, product
from benchmarks.cells.live import BODY, profile, run
from benchmarks.cells.pipelines import Pipeline, Stage, write
from benchmarks.record import Record, Results, arguments, progress
from regrain import grain as grains
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.load.report import Report
from regrain_watchdog.load.report import loads as read_report
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.predictor import Simulated
from regrain_watchdog.simulate.static import Static, prepare

PAGES = Pipeline(
    name="pages",
    stages=(
        Stage(name="decode", time=0.018),
        Stage(name="detect", model="convnext_tiny", time=2.0, batch=8, takes=("decode",)),
        Stage(name="crop", time=0.014, takes=("detect",), gives=True),
        Stage(name="recognise", model="convnext_tiny", time=0.8, batch=8, takes=("crop",), maps=True),
        Stage(name="assemble", time=0.008, takes=("recognise",)),
    ),
    widths='{kind = "geometric", mean = 8.0}',
)
RATE, SLO = 11.4, 0.4
"""Requests a second and seconds: a light load, at 1.2 times the latency on 15 % of a card."""
SHARES, NODES, MARGIN = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4), 200, 0.01
"""Of a GPU, that are profiled; plans judged; and how far above the objective they are to be."""
SEEN = 400.0
"""Seconds of requests that plans are judged on."""
SAVED = 0.15
PLANS = ("grain", "fluid")


def main() -> None:
    options = arguments("fluid", __doc__ or "", rounds=3, seconds=150.0).parse_args()
    results = Results.open("fluid", options)
    todo = [
        (turn, name)
        for turn in range(options.rounds)
        for name in PLANS
        if not results.has(kind=name, round=turn)
    ]
    if todo:
        _measure(results, todo, options)
    _bars(results)


def _measure(results: Results, todo: Sequence[tuple[int, str]], options: argparse.Namespace) -> None:
    """Serve the plans by turns: those that a run before had, since another profile may lead to others."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(PAGES, folder)
        progress("profiling")
        profile(PAGES, folder, SHARES)
        manifest = describe(str(folder / "app.py"))
        seen = _static(folder, manifest, seconds=SEEN, seed=options.seed)
        plans = {
            name: served(results, name, manifest) or _chosen(seen, manifest, fluid=name == "fluid")
            for name in dict.fromkeys(name for _, name in todo)
        }
        for turn, name in todo:
            sent = _static(folder, manifest, seconds=options.seconds, seed=options.seed + 1 + turn)
            results.add({"kind": name, "round": turn, **_row(folder, sent, plans[name])})


def served(results: Results, name: str, manifest: Manifest) -> Plan | None:
    """Return the plan that the recorded rounds were served by; None where there are none."""
    for line in results.lines:
        if line["kind"] == name:
            return grains.make_plan(manifest, *(str(line[flag]) for flag in ("grain", "replicas", "shares")))
    return None


def _bars(results: Results) -> None:
    costs, hits = (
        {name: results.median(field, kind=name) for name in PLANS} for field in ("cost", "hit_rate")
    )
    results.bar("live: share of the cost that is saved", 1 - costs["fluid"] / costs["grain"], at_least=SAVED)
    short = min(hits["grain"], 0.95) - hits["fluid"]
    results.bar("live: hit rate that is lost, up to the objective", max(0.0, short), at_most=0.0)


def _static(folder: Path, manifest: Manifest, *, seconds: float, seed: int) -> Static:
    """Write the scenario of a draw of requests, and return what it says."""
    lines = [
        f"seed = {seed}\nduration = {seconds}",
        '[node]\ngpus = "emulated:v100x2"\ncores = 64\nmemory = "64Gi"',
        '[apps.pages]\nmodule = "app.py"\nprofile = "profile.json"\ngrain = "fine"',
        'shares = "detect=0.1, recognise=0.1"',
        f'slo = {{latency = "{1000 * SLO:g}ms", attainment = 0.95}}',
        f'load = {{kind = "poisson", rate = {RATE}}}',
        f"body = '{{\"count\": $width0}}'\nwidths = [{PAGES.widths}]",
    ]
    path = folder / "scenario.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return prepare(scenarios.read(path), PAGES.name, manifest)


def _chosen(seen: Static, manifest: Manifest, *, fluid: bool) -> Plan:
    """Return the planner's cheapest plan that meets the objective also as the command line gives it."""
    limits = Limits(shares=SHARES, sizes=(1, 2, 4, 8), fluid=fluid, replicas=8, nodes=NODES)
    choice = Planner(replace(seen.problem, limits=limits)).plan(seen.arrivals, Simulated())
    attainment = seen.application.slo.attainment + MARGIN
    for one in sorted(choice.considered, key=lambda one: one.cost):
        if fluid == any(group.fluid is not None for group in one.plan.groups):
            plan = grains.make_plan(manifest, *_flags(one.plan))
            if _expected(seen, plan) >= attainment:
                return plan
    raise RuntimeError(f"none of {len(choice.considered)} plans meets the objective of {SLO:g} s")


def _flags(plan: Plan) -> tuple[str, str, str]:
    """Return a plan's grain, replicas and shares in the command line's notation."""
    replicas = ", ".join(f"{group.stages[0]}={group.replicas}" for group in plan.groups)
    return plan.grain, replicas, ", ".join(share for group in plan.groups for share in _shares(group))


def _shares(group: Group) -> Iterator[str]:
    if group.fluid is not None:
        yield f"{'+'.join(group.stages)}={group.fluid.share:g}"
        yield from (f"{lane.stage}={lane.fraction:g}" for lane in group.fluid.lanes if lane.fraction)
    elif group.gpu is not None:
        on_gpu = {stage.name for stage in PAGES.stages if stage.model}
        yield f"{next(stage for stage in group.stages if stage in on_gpu)}={group.gpu.fraction:g}"


def _expected(static: Static, plan: Plan) -> float:
    model = make_model(static.application, plan, static.problem.times)
    return Simulated().predict(model, static.arrivals).hit_rate


def _row(folder: Path, sent: Static, plan: Plan) -> Record:
    """Serve the app under a plan and send it a draw of requests."""
    port = processes.free_ports(1)
    grain, replicas, shares = _flags(plan)
    flags = ["--replicas", replicas, "--gpu-shares", shares, "--slo", f"{1000 * SLO:g}ms"]
    flags += ["--gpus", "emulated:v100x2", "--scenario", str(folder / "emulated.toml")]
    command = [*product.command(folder / "app.py", port=port, grain=grain), *flags]
    report = folder / "report.json"
    with processes.Served([command], port=port, name="fluid") as served:
        served.wait(BODY, bool)
        scenario = str(folder / "scenario.toml")
        run("load", f"http://127.0.0.1:{port}/", "--scenario", scenario, "-o", str(report))
    found: Report = read_report(report.read_bytes())
    app = found.apps[0]
    return {
        "grain": grain,
        "replicas": replicas,
        "shares": shares,
        "cost": 3600 * sent.problem.cost(plan),
        "hit_rate": app.hit_rate,
        "expected": _expected(sent, plan),
        "requests": app.offered,
        "outcomes": app.outcomes,
        "late_p99_ms": 1000 * app.lateness.p99 if app.lateness else 0.0,
    }


if __name__ == "__main__":
    main()
