"""What predictors say of a cell: as it is run, and later anew of what was recorded, as they are then.

A recorded cell is read from the scenario that was written for it. It is not drawn again, since what is drawn depends on
a predictor.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import machine
from benchmarks.cells.draw import pipeline_of
from benchmarks.cells.live import module
from benchmarks.cells.rows import CELL, DISTURBED
from benchmarks.cells.summary import SIMULATED
from benchmarks.record import Record, progress
from regrain.manifest import Manifest
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.control.learned import Learned
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.simulate import scenario as scenarios
from regrain_watchdog.simulate.engine import Run
from regrain_watchdog.simulate.predictor import Simulated
from regrain_watchdog.simulate.static import Static, prepare


class Predictors:
    """All that are judged, and the replay of the very requests; `made`: the commit that they are of."""

    def __init__(self) -> None:
        self.learned = Learned()
        self.all: tuple[Predictor, ...] = (Simulated(), self.learned, Analytic())
        self.made = machine.describe()["commit"]

    def told(self, number: int, static: Static) -> Record:
        """Return what is predicted of a cell."""
        run = Run(static.model, static.arrivals, seed=number)
        run.advance()
        replayed = run.result()
        before = self.learned.strange
        told = {one.name: round(one.predict(static.model, static.arrivals).hit_rate, 4) for one in self.all}
        lasting = sorted(replayed.latency[replayed.latency == replayed.latency])
        return {
            SIMULATED: round(replayed.hit_rate, 4),
            **told,
            "strange": self.learned.strange > before,
            "replayed_p50_ms": round(1000.0 * float(lasting[len(lasting) // 2]), 2) if lasting else None,
            "predicted_by": self.made,
        }


def judged(lines: list[Record], folder: Path) -> list[Record]:
    """Return the lines with all predictions of cells made anew; what was observed, and by what, stays.

    Args:
        lines: that were recorded.
        folder: of the apps and profiles that they were run with, and the cells as scenarios.
    """
    predictors, manifests, found, commit = Predictors(), dict[str, Manifest](), [], ""
    for line in lines:
        commit = str(line["commit"]) if line["kind"] == "machine" else commit
        if line["kind"] not in {CELL, DISTURBED}:
            found.append(line)
            continue
        number = int(str(line["number"]))
        static = recorded(number, folder, manifests)
        if len(static.arrivals) != line["requests"]:
            raise RuntimeError(
                f"cell {number} had {line['requests']} requests; its scenario in {folder} has {len(static.arrivals)}"
            )
        found.append(
            {**line, **predictors.told(number, static), "observed_by": line.get("observed_by", commit)}
        )
        progress(f"cell {number}")
    return found


def recorded(number: int, folder: Path, manifests: dict[str, Manifest]) -> Static:
    """Return a cell as it was written down when it was run; `manifests`: of the apps so far."""
    pipeline = pipeline_of(number)
    own = (folder / pipeline.name).resolve()
    if pipeline.name not in manifests:
        manifests[pipeline.name] = describe(str(module(pipeline, own)))
    path = own / f"cell-{number}.toml"
    if not path.exists():
        raise RuntimeError(
            f"cell {number} has no scenario: {path} is missing; say the folder that it was run in"
        )
    return prepare(scenarios.read(path), pipeline.name, manifests[pipeline.name])
