"""Boosted trees as arrays, asked by a compiled walk: LightGBM takes longer to be called than to look at its trees."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.simulate.compiled import compiled, entry

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FEATURE, LEFT, RIGHT = range(3)
"""Of a split: the feature that it looks at, and what comes where that is at most its threshold and where it is more."""
STRANGE = -1.0
"""Said of what is unlike all that was trained on."""


class Trees(NamedTuple):
    """Trees with numerical splits alone.

    Attributes:
        roots: (trees,) where each begins; a negative one is a leaf, ~ of its number.
        splits: (3, splits) see FEATURE. thresholds: (splits,) of these.
        values: (leaves,).
    """

    roots: Places
    splits: Places
    thresholds: Floats
    values: Floats


class Trained(NamedTuple):
    """What judges plans.

    Attributes:
        trees: whose sum is the log odds of the share in time.
        least, most: (features,) between which a plan is like those that were trained on.
        told, came: (points,) the calibration, ascending: where the trees say `told`, `came` is in time.
    """

    trees: Trees
    least: Floats
    most: Floats
    told: Floats
    came: Floats


def planted(text: str) -> Trees:
    """Return trees as LightGBM writes them down; ValueError where there are none, or they cannot be walked."""
    splits: list[Places] = []
    thresholds, values, roots = [], [], []
    nodes = leaves = 0
    for block in text.split("\nTree=")[1:]:
        told = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        feature = np.array(told.get("split_feature", "").split(), np.int64)
        ways = np.array([told.get(key, "").split() for key in ("left_child", "right_child")], np.int64)
        value = np.array(told["leaf_value"].split(), np.float64)
        # a way that is negative leads to a leaf, ~ of its number
        splits.append(np.vstack((feature, np.where(ways >= 0, ways + nodes, ways - leaves))))
        thresholds.append(np.array(told.get("threshold", "").split(), np.float64))
        values.append(value)
        roots.append(nodes if len(feature) else ~leaves)
        nodes, leaves = nodes + len(feature), leaves + len(value)
    if not roots:
        raise ValueError("there is no tree in it")
    return Trees(
        np.array(roots, np.int64),
        np.ascontiguousarray(np.hstack(splits)),
        np.concatenate(thresholds),
        np.concatenate(values),
    )


@compiled
def score(row: Floats, trees: Trees) -> float:
    """Return the sum of the leaves to which a row of features leads."""
    whole = 0.0
    for root in trees.roots:
        node = root
        while node >= 0:
            side = LEFT if row[trees.splits[FEATURE, node]] <= trees.thresholds[node] else RIGHT
            node = trees.splits[side, node]
        whole += trees.values[~node]
    return whole


def _make(digest: int) -> Callable[[Floats, Trained], float]:
    def judged(row: Floats, trained: Trained) -> float:
        """Return the share in time of a row of features; STRANGE where it is unlike all that was trained on."""
        for place in range(len(row) if digest >= 0 else 0):  # compiled anew where this source has changed
            if not trained.least[place] <= row[place] <= trained.most[place]:
                return STRANGE
        told = 1.0 / (1.0 + np.exp(-score(row, trained.trees)))
        return float(np.interp(told, trained.told, trained.came))

    return judged


judged = entry(_make(zlib.crc32(Path(__file__).read_bytes())))
