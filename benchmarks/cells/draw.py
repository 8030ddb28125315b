"""Draw the cells: a pipeline, a plan of it, and a load, written down as a scenario that all later steps read."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cells import ocr
from benchmarks.cells.pipelines import FLUID, OCR, PIPELINES, Pipeline
from benchmarks.learned.draw import capacity
from regrain import grain as grains
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.engine import Run
from regrain_watchdog.simulate.static import Static, prepare

SHARES, BATCHES = (0.15, 0.25, 0.5), (1, 2, 4, 8)
"""Of the GPU and of a call, that profiles hold and plans have."""
REQUESTS = 1500
CROWD = 24
"""Replicas at most."""
TRIES = 60
INFORMATIVE = (0.2, 0.98)
TOLD = 0.75
"""Share of the cells that are drawn until the simulator takes them to be informative."""
LIGHT = '{kind = "poisson", rate = 0.5}'
LONG = 10.0
"""Seconds of an objective that is never missed, to see how long a request takes alone."""
EMULATED = 180
"""Cells that come first; those after them are of the real app, which wants both cores for itself."""
KINDS = ("poisson", "mmpp", "trace", "poisson", "onoff")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Cell:
    """What is run: `static` is the plan and the load as numbers, `scenario` the file that says them."""

    number: int
    pipeline: Pipeline
    process: str
    use: float
    slo: float
    grain: str
    replicas: str
    shares: str
    scenario: Path
    static: Static

    @property
    def cards(self) -> int:
        """Emulated GPUs that hold all shares, whatever lies beside what; a fluid group has one."""
        if self.grain == FLUID:
            return 1
        wanted = sum(group.gpu.fraction * group.replicas for group in self.static.plan.groups if group.gpu)
        return min(64, 1 + math.ceil(1.4 * wanted))


def cell(
    number: int, seed: int, folder: Path, manifest: Manifest, *, pipeline: Pipeline, trace: Path | None
) -> Cell:
    """Draw one; most are drawn again until the simulator expects a hit rate that tells predictors apart."""
    last: Cell | None = None
    for one in _tries(number, seed, folder, manifest, pipeline=pipeline, trace=trace):
        last = one
        run = Run(one.static.model, one.static.arrivals, seed=seed)
        run.advance()
        expected = run.result().hit_rate
        if number % 4 >= 4 * TOLD or INFORMATIVE[0] <= expected <= INFORMATIVE[1]:
            return one
    if last is None:
        raise RuntimeError(
            f"cell {number}: no plan of {pipeline.name} at {pipeline.rates} requests a second was drawn"
        )
    return last


def pipeline_of(number: int) -> Pipeline:
    """Return the pipeline of a cell: they take turns, and the real app's come last."""
    return PIPELINES[number % len(PIPELINES)] if number < EMULATED else OCR


def _tries(
    number: int, seed: int, folder: Path, manifest: Manifest, *, pipeline: Pipeline, trace: Path | None
) -> Iterator[Cell]:
    kinds = [kind for kind in KINDS if kind != "trace" or trace is not None]
    process = kinds[(number // len(PIPELINES) + number) % len(kinds)]
    for turn in range(TRIES):
        rng = np.random.default_rng((seed, number, turn))
        grain = str(rng.choice(pipeline.grains))
        groups = grains.parse(grain, manifest.graph)
        replicas = ", ".join(f"{group[0]}={int(rng.integers(1, pipeline.replicas + 1))}" for group in groups)
        emulated = {stage.name for stage in pipeline.stages if stage.model}
        on_gpu = [
            stage
            for group in groups
            for stage in [stage for stage in group if stage in emulated][: None if grain == FLUID else 1]
        ]
        shares = ", ".join(f"{stage}={float(rng.choice(SHARES))}" for stage in on_gpu)
        head = _Head(pipeline, folder, grain, replicas, shares)
        light = head.prepared(manifest, "light", slo=LONG, load=LIGHT, seconds=1000.0, seed=1)
        alone = Analytic().predict(light.model, light.arrivals).p95
        rate = capacity(light.model, light.arrivals.widths) * (use := float(rng.uniform(0.4, 1.2)))
        low, high = pipeline.rates
        if not low <= rate <= high or not _fits(light.plan, pipeline):
            continue
        slo = alone * float(np.exp(rng.uniform(np.log(0.9), np.log(4.0))))
        load, seconds = _load(process, rate, trace, rng)
        static = head.prepared(
            manifest, f"cell-{number}", slo=slo, load=load, seconds=seconds, seed=int(rng.integers(1 << 30))
        )
        if len(static.arrivals) < REQUESTS:
            continue
        yield Cell(
            number=number,
            pipeline=pipeline,
            process=process,
            use=use,
            slo=slo,
            grain=grain,
            replicas=replicas,
            shares=shares,
            scenario=head.file(f"cell-{number}"),
            static=static,
        )


def _fits(plan: Plan, pipeline: Pipeline) -> bool:
    """Whether a plan may be drawn: emulated GPUs take no cores, the real app needs those that its replicas count on."""
    if pipeline.stages:
        return sum(group.replicas for group in plan.groups) <= CROWD
    return sum(group.replicas * group.cpu for group in plan.groups) <= len(os.sched_getaffinity(0))


def _load(process: str, rate: float, trace: Path | None, rng: np.random.Generator) -> tuple[str, float]:
    """Return a load as a scenario has it, and the seconds in which a little more than REQUESTS come."""
    seconds = 1.1 * REQUESTS / rate
    if process == "mmpp":
        ratio, share = float(rng.uniform(2.0, 6.0)), float(rng.uniform(0.1, 0.5))
        slow = rate / (1.0 - share + share * ratio)
        cycle = float(np.exp(rng.uniform(np.log(0.5), np.log(seconds / 6.0))))
        dwell = [cycle * (1.0 - share), cycle * share]
        return f'{{kind = "mmpp", rates = {[slow, slow * ratio]}, dwell = {dwell}}}', 1.15 * seconds
    if process == "onoff":
        share, cycle = float(rng.uniform(0.3, 0.8)), float(rng.uniform(0.5, seconds / 8.0))
        text = f"rate = {rate / share}, on = {cycle * share}, off = {cycle * (1.0 - share)}"
        return f'{{kind = "onoff", {text}}}', 1.1 * seconds
    if process == "trace":
        begin = float(rng.uniform(0.0, 0.8))
        what = f'trace = {{file = "{trace}", sort = true}}'
        return f'{{kind = "trace", {what}, part = [{begin}, 1.0], rate = {rate}}}', 1.1 * seconds
    return f'{{kind = "poisson", rate = {rate}}}', seconds


@dataclass(frozen=True, slots=True)
class _Head:
    """What a cell's scenarios have in common."""

    pipeline: Pipeline
    folder: Path
    grain: str
    replicas: str
    shares: str

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.toml"

    def prepared(
        self, manifest: Manifest, name: str, *, slo: float, load: str, seconds: float, seed: int
    ) -> Static:
        """Write a scenario, and return what it says."""
        module, content = "app.py", "body = '{\"count\": 4}'"
        if self.pipeline.widths:
            content = f"body = '{{\"count\": $width0}}'\nwidths = [{self.pipeline.widths}]"
        if not self.pipeline.stages:
            module, content = str(ocr.MODULE), ocr.bodies(self.folder)
        lines = [
            f"seed = {seed}",
            f"duration = {seconds}",
            '[node]\ngpus = "emulated:v100x64"\ncores = 256\nmemory = "512Gi"',
            f"[apps.{self.pipeline.name}]",
            f'module = "{module}"\nprofile = "profile.json"',
            f'slo = {{latency = "{1000.0 * slo:.3f}ms", attainment = 0.95}}',
            f'grain = "{self.grain}"\nreplicas = "{self.replicas}"\nshares = "{self.shares}"',
            f"load = {load}",
            content,
        ]
        self.file(name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return prepare(scenarios.read(self.file(name)), self.pipeline.name, manifest)
