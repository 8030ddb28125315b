"""How far off a law is at points that it was not fitted to, and the emulator between its own."""

from __future__ import annotations

import msgspec
import numpy as np

from benchmarks.gpu_fit.law import Form, errors, fit
from benchmarks.gpu_fit.profile import Floats, Points
from regrain_runtime.emulated.models import Model

FOLDS = 5
FEW_SHARES = (0.1, 0.25, 0.5, 1.0)
FEW_BATCHES = (1, 2, 8)


def folded(form: Form, points: Points, seed: int) -> Floats:
    """Return the error at every point, each from a fit to the four fifths of the points without it."""
    fold = np.random.default_rng(seed).permutation(points.seconds.size) % FOLDS
    missed = np.empty_like(points.seconds)
    for held in range(FOLDS):
        out = fold == held
        missed[out] = errors(form, fit(form, points.take(~out)), points.take(out))
    return missed


def from_few(form: Form, points: Points) -> Floats:
    """Return the errors of a fit to twelve points, as a profiler would measure, at all the others.

    Batch 4 is among those left out, and so are shares below the least that was fitted.
    """
    near = np.isclose(points.shares[:, None], FEW_SHARES).any(axis=1)
    few = near & np.isin(points.batches, FEW_BATCHES)
    return errors(form, fit(form, points.take(few)), points.take(~few))


def interpolated(model: Model) -> list[float]:
    """Return how far off the emulator is at each share when that share is taken out of its table.

    It then interpolates over twice the distance that it ever has to, so this bounds its error from above.
    """
    missed = []
    for place, share in list(enumerate(model.shares))[1:-1]:
        rest = msgspec.structs.replace(
            model,
            shares=_without(model.shares, place),
            seconds={batch: _without(row, place) for batch, row in model.seconds.items()},
        )
        missed += [abs(rest.time(batch, share) / row[place] - 1) for batch, row in model.seconds.items()]
    return missed


def _without(row: tuple[float, ...], place: int) -> tuple[float, ...]:
    return row[:place] + row[place + 1 :]
