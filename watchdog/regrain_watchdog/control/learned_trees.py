"""Boosted trees as arrays, asked by a compiled walk: LightGBM takes longer to be called than to look at its trees."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.simulate.compiled import entry

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

FEATURE, LEFT, RIGHT = range(3)
"""Of a split: the feature that it looks at, and what comes where that is at most its threshold and where it is more."""


class Trees:
    """Trees as LightGBM writes them down, with numerical splits alone."""

    def __init__(self, text: str) -> None:
        """Read them; ValueError where there are none, or they cannot be walked."""
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
        self._splits, self._roots = np.ascontiguousarray(np.hstack(splits)), np.array(roots, np.int64)
        self._thresholds, self._values = np.concatenate(thresholds), np.concatenate(values)

    def score(self, row: Floats) -> float:
        """Return the sum of what the trees say of one row of features."""
        return walk(row, self._roots, self._splits, self._thresholds, self._values)


def _make(digest: int) -> Callable[[Floats, Places, Places, Floats, Floats], float]:
    def walk(row: Floats, roots: Places, splits: Places, thresholds: Floats, values: Floats) -> float:
        """Return the sum of the leaves to which a row leads."""
        whole = 0.0
        for root in roots if digest >= 0 else roots[:0]:  # compiled anew where this source has changed
            node = root
            while node >= 0:
                side = LEFT if row[splits[FEATURE, node]] <= thresholds[node] else RIGHT
                node = splits[side, node]
            whole += values[~node]
        return whole

    return walk


walk = entry(_make(zlib.crc32(Path(__file__).read_bytes())))
