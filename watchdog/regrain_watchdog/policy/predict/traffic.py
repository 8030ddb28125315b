"""A load in few numbers: the process by which requests come, and the classes of them by how much they bring."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.mmpp import Process, fit

CUTS = (0.25, 0.5, 0.75, 0.9, 0.97)
"""Shares of the requests, from the lightest on, at which one class ends and the next begins: the heavy ones miss
first, so they are told apart more finely."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """A load as the analytic predictor sees it.

    Attributes:
        process: by which requests come.
        weights: (classes,) share of the requests in each class.
        sizes: (classes,) mean size of its requests.
        widths: (classes, lists) mean items of each list.
        bunches: (lists,) E[w^2] / E[w] of each list's widths; 1 where all are 1.
    """

    process: Process
    weights: NDArray[np.float64]
    sizes: NDArray[np.float64]
    widths: NDArray[np.float64]
    bunches: NDArray[np.float64]

    @functools.cached_property
    def rates(self) -> NDArray[np.float64]:
        """Requests a second of each phase, (phases,)."""
        return np.array(self.process.rates)

    @functools.cached_property
    def stays(self) -> NDArray[np.float64]:
        """Mean seconds of each phase, (phases,)."""
        return np.array(self.process.stays)

    @functools.cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of the requests of each phase and class, (phases, classes)."""
        return np.array(self.process.weights)[:, None] * self.weights


def traffic(load: Arrivals) -> Traffic:
    """Return a load in few numbers; of an empty one, requests of width 1 and size 0 that never come."""
    process = fit(load.at, load.span)
    lists = load.widths.shape[1]
    if not len(load):
        return Traffic(process, np.ones(1), np.zeros(1), np.ones((1, lists)), np.ones(lists))
    widths = load.widths.astype(np.float64)
    means = np.maximum(widths.mean(axis=0), 1e-9)
    bunches = (widths**2).mean(axis=0) / means
    heavy = np.column_stack((widths, load.size))[heavier(load)]
    if (heavy == heavy[0]).all():
        return Traffic(process, np.ones(1), heavy[:1, -1], heavy[:1, :-1], bunches)
    ends = np.unique(np.array([0, *(round(cut * len(load)) for cut in CUTS), len(load)]))
    parts = [heavy[begin:end] for begin, end in itertools.pairwise(ends)]
    mean = np.array([part.mean(axis=0) for part in parts])
    weights = np.array([len(part) for part in parts]) / len(load)
    return Traffic(process, weights, mean[:, -1], mean[:, :-1], bunches)


def heavier(load: Arrivals) -> NDArray[np.int64]:
    """Return the places of the requests, from the lightest on."""
    return np.lexsort((load.size, load.widths.astype(np.float64).sum(axis=1)))
