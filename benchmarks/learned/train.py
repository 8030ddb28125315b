"""Grow the trees, calibrate them on runs held out, and write what is shipped: a model's text and a card.

The label is the share of a run's requests that were in time, the loss its cross entropy: so what the trees say is a
probability. An isotonic fit on runs that they did not see takes out what bias is left.
"""

from __future__ import annotations

from collections.abc import Sequence

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.learned.runs import Runs
from regrain_watchdog.control.learned import VERSION, Card
from regrain_watchdog.control.learned_features import FALLING, NAMES, RISING

Floats = NDArray[np.float64]

ROUNDS, LEAVES, RATE = 160, 32, 0.07
HELD_OUT = 0.15
"""Share of the runs that calibrate and are judged on."""
KNOTS = 25
"""Points of the calibration."""
KEPT = (
    "num_leaves",
    "num_cat",
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
)
"""What a tree needs to be asked; the rest says how it was grown."""
EXTREME = 0.0001
"""Share of the runs at either end of a feature that do not count as its trained range."""
PARAMS = {
    "objective": "cross_entropy",
    "learning_rate": RATE,
    "num_leaves": LEAVES,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "monotone_constraints": [(name in RISING) - (name in FALLING) for name in NAMES],
    "monotone_constraints_method": "intermediate",
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def grown(runs: Runs, *, seed: int) -> tuple[str, Card, Floats]:
    """Return a model's text, its card, and (held out,) errors in points."""
    border = round(len(runs.hit_rates) * (1.0 - HELD_OUT))
    data = lightgbm.Dataset(runs.features[:border], runs.hit_rates[:border], feature_name=list(NAMES))
    trees = lightgbm.train({**PARAMS, "seed": seed}, data, ROUNDS)
    text = stripped(trees.model_to_string(importance_type="gain"))
    told = np.asarray(lightgbm.Booster(model_str=text).predict(runs.features[border:], num_threads=1))
    came = runs.hit_rates[border:]
    half = np.arange(len(told)) % 2 == 0  # calibrate on one half, judge on the other
    knots = calibration(told[half], came[half])
    errors = 100.0 * (np.interp(told[~half], *knots) - came[~half])
    low, high = np.quantile(runs.features, (EXTREME, 1.0 - EXTREME), axis=0)
    card = Card(
        version=VERSION,
        features=NAMES,
        least=tuple(low.tolist()),
        most=tuple(high.tolist()),
        told=tuple(np.round(knots[0], 6).tolist()),
        came=tuple(np.round(knots[1], 6).tolist()),
        seed=seed,
        runs=len(runs.hit_rates),
        requests=runs.requests,
        errors={
            "held out": round(float(np.abs(errors).mean()), 3),
            "held out, bias": round(float(errors.mean()), 3),
        },
        made=lightgbm.__version__,
    )
    return text, card, errors


def calibration(told: Floats, came: Floats) -> tuple[Floats, Floats]:
    """Return the knots of the best rising line through (told, came): pool adjacent violators, then bins of equal count.

    The ends are (0, 0) and (1, 1), so that what is sure stays sure.
    """
    order = np.argsort(told)
    bins = [part for part in np.array_split(order, KNOTS) if len(part)]
    x = np.array([told[part].mean() for part in bins])
    y = pooled([float(came[part].mean()) for part in bins], [len(part) for part in bins])
    inside = (x > 1e-4) & (x < 1.0 - 1e-4) & (np.diff(x, prepend=-1.0) > 0.0)
    return np.array([0.0, *x[inside], 1.0]), np.array([0.0, *y[inside], 1.0])


def pooled(values: Sequence[float], weights: Sequence[float]) -> Floats:
    """Return the rising values that are nearest to some in weighted squares (Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (one, heavy, few), (other, light, more) = blocks.pop(-2), blocks.pop()
            whole = heavy + light
            blocks.append(((one * heavy + other * light) / whole, whole, few + more))
    return np.repeat([value for value, _, _ in blocks], [many for _, _, many in blocks])


def stripped(text: str) -> str:
    """Return a model's text with what is needed to ask it, numbers at seven digits."""
    kept = []
    for line in text.split("\n\nfeature_importances:", maxsplit=1)[0].splitlines():
        key, equals, rest = line.partition("=")
        if key in {"threshold", "leaf_value"}:
            rest = " ".join(f"{float(number):.7g}" for number in rest.split())
        if line.startswith("Tree=") or not equals or key in KEPT or not kept or "Tree=0" not in kept:
            if key not in {"tree_sizes", "monotone_constraints"}:
                kept.append(key + equals + rest)
        elif key in {"is_linear", "shrinkage"}:
            kept.append(line)
    return "\n".join(kept) + "\n"
