"""Read the measurements: one CSV of model, SM share, time quota, batch and milliseconds."""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("model", "sm_percent", "quota_percent", "batch", "latency_ms")
FULL = 100  # per cent of the time: the model runs whenever it wants to
Floats = NDArray[np.float64]
Key = tuple[int, int, int]  # SM per cent, quota per cent, batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """What was measured of one model at full quota: one entry for each share and batch."""

    shares: Floats
    batches: Floats
    seconds: Floats

    def take(self, which: NDArray[np.bool_]) -> Points:
        """Return those of the points that are marked."""
        return Points(shares=self.shares[which], batches=self.batches[which], seconds=self.seconds[which])


class Profile:
    """All measurements, in milliseconds by model and setting."""

    def __init__(self, models: dict[str, dict[Key, float]]) -> None:
        self.models = models

    @classmethod
    def read(cls, path: Path) -> Profile:
        models: dict[str, dict[Key, float]] = defaultdict(dict)
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise SystemExit(f"{path}: the columns must be {', '.join(COLUMNS)}, were {rows.fieldnames}")
            for row in rows:
                key = (int(row["sm_percent"]), int(row["quota_percent"]), int(row["batch"]))
                models[row["model"]][key] = float(row["latency_ms"])
        return cls(dict(models))

    @property
    def size(self) -> int:
        return sum(map(len, self.models.values()))

    def grid(self) -> tuple[list[int], list[int]]:
        """Return the SM percentages and the batches that any model was measured at, ascending."""
        keys = {key for model in self.models.values() for key in model}
        return sorted({key[0] for key in keys}), sorted({key[2] for key in keys})

    def complete(self) -> list[str]:
        """Return the models that were measured at every share and batch with full quota."""
        percents, batches = self.grid()
        wanted = {(percent, FULL, batch) for percent in percents for batch in batches}
        return sorted(name for name, model in self.models.items() if wanted <= model.keys())

    def points(self, name: str) -> Points:
        """Return a model's points at full quota, in shares and seconds."""
        found = [(p / 100, b, ms / 1e3) for (p, quota, b), ms in self.models[name].items() if quota == FULL]
        shares, batches, seconds = np.array(found, dtype=np.float64).T
        return Points(shares=shares, batches=batches, seconds=seconds)

    def quota_ratios(self) -> dict[int, list[tuple[float, float]]]:
        """Return for each quota below full (per cent) how often what was measured: (seconds at full, ratio)."""
        ratios: dict[int, list[tuple[float, float]]] = defaultdict(list)
        for model in self.models.values():
            for (percent, quota, batch), ms in model.items():
                full = model.get((percent, FULL, batch))
                if quota < FULL and full:
                    ratios[quota].append((full / 1e3, ms / full))
        return dict(sorted(ratios.items()))
