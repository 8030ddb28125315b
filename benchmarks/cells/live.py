"""Run a cell live: serve its app, send its load, and return what was observed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes, product
from benchmarks.cells import ocr
from benchmarks.cells.draw import BATCHES, SHARES, Cell
from benchmarks.cells.pipelines import Pipeline
from regrain_watchdog.load.report import AppReport, Report
from regrain_watchdog.load.report import loads as read_report

BODY = processes.Request(b'{"count": 2}', headers={"Content-Type": "application/json"})
PROFILED = "40s"
PATIENCE = 2400.0
"""Seconds of a load at most: 1,500 pages at one a second."""


def profile(pipeline: Pipeline, folder: Path, shares: Sequence[float] = SHARES) -> None:
    """Measure an app as its operator does; what was measured stays."""
    flags = ["--time", PROFILED, "--out", str(folder / "profile.json")]
    if not pipeline.stages or not all(stage.model for stage in pipeline.stages):
        flags += ["--cores", "1"]
    if pipeline.stages:
        flags += ["--gpus", "emulated:v100", "--scenario", str(folder / "emulated.toml")]
        flags += ["--shares", ",".join(map(str, shares)), "--batches", ",".join(map(str, BATCHES))]
    else:
        flags += ["--input", str(ocr.pictures(folder)), "--batches", ",".join(map(str, ocr.BATCHES))]
    run("profile", str(module(pipeline, folder)), *flags)


def module(pipeline: Pipeline, folder: Path) -> Path:
    """Return where an app is."""
    return folder / "app.py" if pipeline.stages else ocr.MODULE


def observed(cell: Cell) -> AppReport:
    """Serve an app, send the load of a scenario, and return what came of it."""
    folder, pipeline = cell.scenario.parent, cell.pipeline
    port = processes.free_ports(1)
    flags = ["--replicas", cell.replicas, "--slo", f"{1000.0 * cell.slo:.3f}ms"]
    if pipeline.stages:
        flags += ["--gpu-shares", cell.shares, "--gpus", f"emulated:v100x{cell.cards}"]
        flags += ["--scenario", str(folder / "emulated.toml")]
    command = [*product.command(module(pipeline, folder), port=port, grain=cell.grain), *flags]
    report = folder / f"cell-{cell.number}.json"
    with processes.Served([command], port=port, name=f"cell-{cell.number}") as served:
        served.wait(BODY if pipeline.stages else ocr.request(folder), bool)
        run("load", f"http://127.0.0.1:{port}/", "--scenario", str(cell.scenario), "-o", str(report))
        served.check()
    found: Report = read_report(report.read_bytes())
    return found.apps[0]


def run(*arguments: str) -> None:
    """Run a command; RuntimeError with what it wrote where it fails."""
    command = [sys.executable, "-m", "regrain_watchdog.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise RuntimeError(
            f"regrain {arguments[0]} failed: {done.stderr.strip()[-2000:] or done.stdout[-2000:]}"
        )
