"""Sojourn times along the DAG: one after the other they add up, side by side the last one counts.

Laws are kept as Fourier transforms of arrays on one time grid, so that a sum of times is a product. A maximum goes by
way of distribution functions. Two ways that part and meet again have what lies before the parting in common, so they
are taken as independent only from there on: each station's time is told from its immediate dominator's end.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Waves = NDArray[np.complex128]

SOURCE = -1
"""The begin of a request, as a place among the stations."""


class Grid:
    """A time grid of `cells` cells of `step` seconds, and transforms of what lies on it."""

    def __init__(self, step: float, cells: int) -> None:
        self.step = step
        self.cells = cells
        self._turns = _turns(cells)
        self._next = self._turns[1] - 1.0
        self._fading = -0.5 * (2.0 * np.pi / (cells * step) * np.arange(cells // 2 + 1)) ** 2

    def transform(self, chances: Floats) -> Waves:
        """Return the transform of (..., at most cells) probabilities."""
        return np.fft.rfft(chances, n=self.cells)

    def chances(self, waves: Waves) -> Floats:
        """Return (..., cells) probabilities of a transform."""
        return np.fft.irfft(waves, n=self.cells)

    def shift(self, seconds: Floats) -> Waves:
        """Return the factor that delays by (...) seconds; between cells the mass is shared by the two next to it."""
        places = seconds / self.step
        whole = np.floor(places)
        turned = self._turns[whole.astype(np.int64) % self.cells]
        delayed: Waves = turned * (1.0 + (places - whole)[..., None] * self._next)
        return delayed

    def blur(self, variance: Floats) -> Floats:
        """Return the factor that adds a normal of mean 0 and (...) variance in squared seconds."""
        factor: Floats = np.exp(variance[..., None] * self._fading)
        return factor

    def longest(self, waves: Sequence[Waves]) -> Waves:
        """Return the transform of the maximum of independent times."""
        if len(waves) == 1:
            return waves[0]
        passed = np.prod([self.chances(one).cumsum(axis=-1) for one in waves], axis=0)
        passed[..., 1:] -= passed[..., :-1].copy()
        return self.transform(passed)


@functools.lru_cache(4)
def _turns(cells: int) -> Waves:
    """Return (cells, cells // 2 + 1) the transforms of delays by 0, 1, .. cells."""
    roots: Waves = np.exp(-2j * np.pi * np.arange(cells) / cells)
    turns: Waves = roots[np.arange(cells)[:, None] * np.arange(cells // 2 + 1) % cells]
    return turns


def dominators(after: Sequence[Sequence[int]]) -> list[int]:
    """Return each station's immediate dominator: the last one through which every way from the source to it leads.

    Args:
        after: by station in topological order, the stations whose results it takes; none for the source alone.

    Example: ((), (0,), (0,), (1, 2)) -> [SOURCE, 0, 0, 0].
    """
    found: list[int] = []
    for parents in after:
        common = next(iter(parents)) if parents else SOURCE
        for parent in parents:
            common = _meet(found, common, parent)
        found.append(common)
    return found


def compose(grid: Grid, own: Sequence[Waves], after: Sequence[Sequence[int]], last: Sequence[int]) -> Waves:
    """Return the transform of the time from a request's begin until all of `last` are done.

    Args:
        grid: on which the laws are.
        own: by station, the transform of its sojourn.
        after: as in `dominators`.
        last: stations at which the request ends.
    """
    chain, above = _chain(tuple(map(tuple, after)), tuple(last))
    since: list[Waves] = []
    for place, parents in enumerate(chain[:-1]):
        begin = _begin(grid, since, above, place, parents)
        since.append(own[place] if begin is None else begin * own[place])
    whole = _begin(grid, since, above, len(own), last)
    if above[-1] == SOURCE:
        return np.ones_like(own[0]) if whole is None else whole
    before = _way(since, above, above[-1], SOURCE)
    return before if whole is None else whole * before


@functools.lru_cache(1024)
def _chain(
    after: tuple[tuple[int, ...], ...], last: tuple[int, ...]
) -> tuple[tuple[tuple[int, ...], ...], list[int]]:
    """Return what each station takes from, at the end the caller, and the dominators of all."""
    chain = (*after, last)
    return chain, dominators(chain)


def _begin(
    grid: Grid, since: Sequence[Waves], above: Sequence[int], place: int, parents: Sequence[int]
) -> Waves | None:
    """Return the transform of the time from the end of a station's dominator to its begin; None if that is at once."""
    ways = [_way(since, above, parent, above[place]) for parent in parents if parent != above[place]]
    return grid.longest(ways) if ways else None


def _meet(above: Sequence[int], one: int, other: int) -> int:
    while one != other:
        if one > other:
            one = above[one]
        else:
            other = above[other]
    return one


def _way(since: Sequence[Waves], above: Sequence[int], place: int, begin: int) -> Waves:
    """Return the transform of the time from the end of `begin`, a dominator of `place`, to the end of `place`."""
    whole = since[place]
    place = above[place]
    while place != begin:
        whole = whole * since[place]
        place = above[place]
    return whole
