"""The protocol's live cells: on emulated GPUs, and the real OCR app; each also simulated, from the same scenario file.

A cell is run with the plan of each fixed grain that the planner has for its load, and with `--adapt`, which begins with
the coarse one. Plans are made of what `regrain profile` measured. The shortest cells come first; the apps and their
profiles are kept in the folder. On emulated GPUs drift is put in that no profile saw; in the OCR app there is none.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import structs

from benchmarks import processes, product
from benchmarks.cells import live as cells
from benchmarks.cells import ocr
from benchmarks.cells.draw import SHARES
from benchmarks.cells.pipelines import OCR, Pipeline, Stage, write
from benchmarks.granularity.judge import DRAW
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.predictors import ANALYTIC, SIMULATED, VERIFIED, predictor
from benchmarks.granularity.protocol import UNIFORM, Protocol, Subset
from benchmarks.learned.draw import capacity
from regrain.cards import CARDS
from regrain.manifest import Manifest, SLOSpec
from regrain.plan import Group, Plan
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.load.report import AppReport
from regrain_watchdog.load.report import loads as read_report
from regrain_watchdog.policy import profile as profiles
from regrain_watchdog.policy.cost import Node
from regrain_watchdog.policy.model import Application
from regrain_watchdog.policy.search.packing import pack
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, NoPlanError, Problem
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.static import Static, prepare

Row = dict[str, object]
FIXED = ("coarse", "fine")
POLICIES = (*FIXED, "adaptive")
ADAPTS = 300.0
"""Seconds that a run with `--adapt` lasts at least."""
DIGITS = 1
"""Of the seconds that a scenario lasts."""
USED = 2
GPUS = f"emulated:v100x{USED}"
"""As the cells of the core grid have them."""
SIZES = (1, 2, 4, 8)
MORE = 8
"""Replicas that are added to a plan at most."""
ATTAINMENT = 0.95
SEED = 1000
LASTING, LONG = 600.0, 10.0
"""Seconds of the requests that are planned on, and an objective that is never missed."""
OCR_CORES = 2.0
ALONE = 0.5
"""Requests a second at which the OCR app's latency is told."""
PATIENCE = 3600.0
LATEST = 20.0
"""Milliseconds by which the generator may be late at the 99th percentile; of a later one only the machine is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """An app at an objective under a load; `rate` in requests a second, `latency` in seconds."""

    pipeline: str
    slo: float
    load: str
    rate: float
    latency: float
    requests: int

    @property
    def key(self) -> Row:
        """What identifies it in a row."""
        return {
            "part": "live",
            "pipeline": self.pipeline,
            "shares": "free",
            "cards": USED if self.pipeline != OCR.name else 0,
            "slo": self.slo,
            "load": self.load,
            "arrivals": "poisson",
        }

    def seconds(self, policy: str) -> float:
        """Return how long a run of it is."""
        return max(self.requests / self.rate, ADAPTS if policy not in FIXED else 0.0)

    def intended(self, policy: str) -> float:
        """Return how many requests a run of it has in the mean; a draw has some more or some less."""
        return self.rate * round(self.seconds(policy), DIGITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What a scenario file says; replicas, shares and grain as `regrain run` takes them."""

    name: str
    seed: int
    seconds: float
    latency: float
    rate: float
    grain: str
    replicas: str = "1"
    shares: str = ""
    adapts: bool = False


class Site:
    """Where one app lies, written and profiled, and what is known of it."""

    def __init__(self, protocol: Protocol, name: str, folder: Path) -> None:
        self.folder = (folder / name).resolve()
        self.pipeline = OCR if name == OCR.name else of(protocol, name)
        if self.is_ocr:
            ocr.write(self.folder)
        else:
            write(self.pipeline, self.folder)
        self.module = cells.module(self.pipeline, self.folder)
        self.manifest: Manifest = describe(str(self.module))
        if not (self.folder / "profile.json").exists():
            cells.profile(self.pipeline, self.folder)
        self.profile = profiles.loads((self.folder / "profile.json").read_bytes())

    @property
    def is_ocr(self) -> bool:
        return self.pipeline.name == OCR.name

    def plan(self, cell: Cell, grain: str) -> Plan:
        """Return the plan of a grain for a load like the cell's; NoPlanError where there is none.

        Shares and replicas are the planner's; batches and waits are the app's own, as it is served without `--adapt`:
        replicas are added until replay has the objective met, or nothing more fits.
        """
        load = self.drawn(cell.rate).arrivals
        app = Application(manifest=self.manifest, profile=self.profile, slo=self._slo(cell.latency))
        limits = Limits(shares=SHARES, sizes=SIZES, grain=self.grain(grain))
        plan = Planner(Problem.of(app, self._node(), limits=limits)).plan(load, predictor(VERIFIED)).plan
        for _ in range(MORE):
            told = predictor(SIMULATED).predict(self._prepared(self._run(cell, "planned", plan)).model, load)
            place = max(range(len(plan.groups)), key=lambda one: told.busy[one])
            more = Plan(tuple(_with(group, place == at) for at, group in enumerate(plan.groups)))
            if told.hit_rate >= ATTAINMENT or pack(more, self.profile, self._node()) is None:
                break
            plan = more
        return plan

    def _run(self, cell: Cell, policy: str, plan: Plan) -> _Run:
        return _Run(
            name=f"{policy}-{cell.slo:g}-{cell.load}",
            seed=SEED,
            seconds=cell.seconds(policy),
            latency=cell.latency,
            rate=cell.rate,
            grain=plan.grain,
            replicas=_replicas(plan),
            shares=self._shares(plan),
            adapts=policy not in (*FIXED, "planned"),
        )

    def _prepared(self, run: _Run) -> Static:
        return prepare(scenarios.read(self.scenario(run)), self.pipeline.name, self.manifest)

    def grain(self, name: str) -> str:
        """Return a grain as notation."""
        return {"coarse": "+", "fine": " | "}[name].join(self.manifest.graph.stages)

    def drawn(self, rate: float) -> Static:
        """Return the coarse plan of one replica, and requests to plan on."""
        first = next(filter(self._is_on_gpu, self.manifest.graph.stages), "")
        run = _Run(
            name="calibration",
            seed=DRAW,
            seconds=LASTING,
            latency=LONG,
            rate=rate,
            grain="coarse",
            shares=f"{first}={max(SHARES)}" if first else "",
        )
        return self._prepared(run)

    def scenario(self, run: _Run) -> Path:
        """Write down a run for `regrain load` and `regrain simulate`."""
        content = ocr.bodies(self.folder) if self.is_ocr else "body = '{\"count\": 4}'"
        if self.pipeline.widths:
            content = f"body = '{{\"count\": $width0}}'\nwidths = [{self.pipeline.widths}]"
        node = self._node()
        lines = [
            f"seed = {run.seed}\nduration = {run.seconds:.{DIGITS}f}",
            f'[node]\ngpus = "{GPUS if node.cards else ""}"\ncores = {node.cores:g}\nmemory = "{node.memory >> 30}Gi"',
            f'[apps.{self.pipeline.name}]\nmodule = "{self.module}"\nprofile = "profile.json"',
            f'slo = {{latency = "{1000.0 * run.latency:.3f}ms", attainment = {ATTAINMENT}}}',
            f'grain = "{run.grain}"\nreplicas = "{run.replicas}"',
            *([f'shares = "{run.shares}"'] if run.shares else []),
            f'load = {{kind = "poisson", rate = {run.rate}}}',
            f"adapt = {str(run.adapts).lower()}",
            content,
        ]
        path = self.folder / f"{run.name}.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def _shares(self, plan: Plan) -> str:
        """Return a plan's shares as `regrain run` takes them: by a stage of each group that needs a GPU."""
        return ", ".join(
            f"{next(filter(self._is_on_gpu, group.stages))}={group.gpu.fraction}"
            for group in plan.groups
            if group.gpu is not None
        )

    def _is_on_gpu(self, stage: str) -> bool:
        return self.profile.stages[stage].on_gpu

    def _node(self) -> Node:
        cards = () if self.is_ocr else (CARDS["v100"],) * USED
        return Node(cards=cards, cores=OCR_CORES if self.is_ocr else 256.0, memory=512 << 30)

    @staticmethod
    def _slo(latency: float) -> SLOSpec:
        return SLOSpec(latency=latency, attainment=ATTAINMENT)

    def run(self, cell: Cell, policy: str, plan: Plan) -> Row:
        """Run a cell, live and simulated; return both."""
        run = self._run(cell, policy, plan)
        scenario = self.scenario(run)
        simulated, observed = scenario.with_suffix(".simulated.json"), scenario.with_suffix(".live.json")
        _regrain("simulate", str(scenario), "-o", str(simulated))
        port = processes.free_ports(1)
        flags = ["--replicas", _replicas(plan), "--slo", f"{1000.0 * cell.latency:.3f}ms"]
        if not self.is_ocr:
            flags += ["--gpu-shares", self._shares(plan), "--gpus", GPUS]
            flags += ["--scenario", str(self.folder / "emulated.toml")]
        if run.adapts:
            flags += ["--adapt", "--profile", str(self.folder / "profile.json")]
            flags += ["--cores", f"{self._node().cores:g}"]
        command = [*product.command(self.module, port=port, grain=plan.grain), *flags]
        with processes.Served([command], port=port, name=scenario.stem) as served:
            served.wait(ocr.request(self.folder) if self.is_ocr else cells.BODY, bool)
            _regrain("load", f"http://127.0.0.1:{port}/", "--scenario", str(scenario), "-o", str(observed))
        intended = {"intended": round(cell.intended(policy), 1)}
        return {
            "policy": policy,
            "grain": plan.grain,
            **_figures(_read(observed), _read(simulated)),
            **intended,
        }


def each(protocol: Protocol, site: Callable[[str], Site], only: tuple[str, ...]) -> list[Cell]:
    """Return the cells, the shortest first; those of the real app come last, since they want both cores."""
    found = []
    for name in protocol.live.pipelines:
        if only and name not in only:
            continue
        found += emulated(protocol, name)
    found.sort(key=lambda cell: cell.seconds("adaptive"))
    if only and OCR.name not in only:
        return found
    real = site(OCR.name).drawn(ALONE)
    bears = OCR_CORES * capacity(real.model, real.arrivals.widths)
    latency = predictor(ANALYTIC).predict(real.model, real.arrivals).p95
    return [*found, *_cells(protocol, protocol.ocr, OCR.name, bears, latency)]


def emulated(protocol: Protocol, name: str) -> list[Cell]:
    """Return the cells of one pipeline on emulated GPUs."""
    world = World(protocol, name, Setting.of(protocol, cards=USED))
    return _cells(protocol, protocol.live, name, world.capacity(), world.warm_latency())


def _cells(protocol: Protocol, law: Subset, name: str, bears: float, latency: float) -> list[Cell]:
    return [
        Cell(
            pipeline=name,
            slo=slo,
            load=load,
            rate=protocol.load.part(load) * bears,
            latency=slo * latency,
            requests=law.requests,
        )
        for load in reversed(law.load)
        for slo in law.slo
    ]


def of(protocol: Protocol, name: str) -> Pipeline:
    """Return a pipeline of the protocol as an app that can be served."""
    law = protocol.pipeline_named(name)
    firsts = {stage.map: place for place, stage in reversed(list(enumerate(law.stages))) if stage.map}
    widths = [
        f'{{kind = "uniform", low = {one.least}, high = {one.most}}}'
        if one.law == UNIFORM
        else f'{{kind = "geometric", mean = {one.mean}}}'
        for one in law.lists.values()
    ]
    return Pipeline(
        name=name,
        stages=tuple(
            Stage(
                name=stage.name,
                model=stage.model,
                time=stage.scale if stage.model else stage.seconds,
                batch=max(protocol.planner.batches) if stage.model else 1,
                takes=(law.stages[place - 1].name,) if place else (),
                maps=bool(stage.map),
                gives=place + 1 in firsts.values(),
            )
            for place, stage in enumerate(law.stages)
        ),
        widths=", ".join(widths),
    )


def _figures(observed: AppReport, simulated: AppReport) -> Row:
    late = 1000.0 * observed.lateness.p99 if observed.lateness else 0.0
    return {
        "hit_rate": round(observed.hit_rate or 0.0, 4),
        "simulated": round(simulated.hit_rate or 0.0, 4),
        "cost": _per_million(observed),
        "simulated_cost": _per_million(simulated),
        "requests": observed.offered,
        "late_p99_ms": round(late, 2),
        "disturbed": late > LATEST,
    }


def _per_million(report: AppReport) -> float | None:
    return round(1000.0 * report.cost.per_thousand, 3) if report.cost is not None else None


def _read(path: Path) -> AppReport:
    return read_report(path.read_bytes()).apps[0]


def _with(group: Group, is_more: bool) -> Group:
    return structs.replace(group, replicas=group.replicas + is_more)


def _replicas(plan: Plan) -> str:
    return ", ".join(f"{group.stages[0]}={group.replicas}" for group in plan.groups)


def _regrain(*arguments: str) -> None:
    """Run a command; RuntimeError with what it wrote where it fails."""
    command = [sys.executable, "-m", "regrain_watchdog.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(
            f"regrain {arguments[0]} failed: {done.stderr.strip()[-2000:] or done.stdout[-2000:]}"
        )


def row(site: Site, cell: Cell, policy: str) -> Row:
    """Return what came of a policy in a cell."""
    try:
        plan = site.plan(cell, policy if policy in FIXED else FIXED[0])
    except NoPlanError as error:
        return {"policy": policy, "infeasible": str(error)}
    return site.run(cell, policy, plan)
