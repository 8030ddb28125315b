"""A load as the learned predictor sees it: what of it a station of some capacity and patience would have to refuse.

That a burst is too much depends on who serves it. So the window is run through simple servers of many capacities and
patiences once, and each plan looks its own stations up.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.traffic import Traffic, heavier, traffic
from regrain_watchdog.simulate.compiled import entry

Floats = NDArray[np.float64]

CAPACITIES = np.geomspace(0.125, 16.0, 22)
"""Of the servers, in times the mean rate of the load."""
PATIENCES = np.geomspace(0.001, 64.0, 17)
"""Seconds of work before it at which a server refuses."""
REPLAYED, PARTS, APART = 2000, 4, 3600.0
"""Requests that are replayed at most, parts of the load that they are of, and seconds between these."""
CLASSES = 6
"""Classes of requests, from the lightest to the heaviest; see policy.predict.traffic."""

_LEAST, _STEP = math.log(CAPACITIES[0]), math.log(CAPACITIES[1] / CAPACITIES[0])
_SOONEST, _LATER = math.log(PATIENCES[0]), math.log(PATIENCES[1] / PATIENCES[0])


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Requests of a load that are replayed: all, or some that follow each other from each of PARTS parts.

    Attributes:
        at: (requests,) when they come; a part long after the one before.
        brings: (1 + scopes, requests) the class of each, then its units by scope; once per request is the last.
    """

    at: Floats
    brings: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A load in the numbers that features are made of.

    Attributes:
        count: requests of the window.
        rate: of them a second.
        traffic: its process, and its classes of requests.
        weights: share of the requests in each class, from the lightest on.
        levels: CLASSES places among the classes, some the same where there are fewer.
        widths: by scope (once per request is the last, all 1), the mean units of a request of each class, then of all.
        sizes: mean size of the requests of each class, then of all.
        lost: by scope (once per request is the last), the (CAPACITIES, PATIENCES) share of the requests that a server
            refuses whose work is as much as the requests bring of that scope.
        stretch: what of it is replayed.
    """

    count: int
    rate: float
    traffic: Traffic
    weights: tuple[float, ...]
    levels: tuple[int, ...]
    widths: tuple[list[float], ...]
    sizes: Floats
    lost: tuple[list[list[float]], ...] = field(repr=False)
    stretch: Stretch = field(repr=False)

    def refused(self, scope: int, capacity: float, patience: float) -> float:
        """Return the share that is refused by a server of so many requests a second and so many seconds' patience."""
        table = self.lost[scope]
        row = (math.log(max(capacity, 1e-9) / self.rate) - _LEAST) / _STEP
        column = (math.log(max(patience, 1e-9)) - _SOONEST) / _LATER
        row = min(max(row, 0.0), len(table) - 1.001)
        column = min(max(column, 0.0), len(table[0]) - 1.001)
        i, j = int(row), int(column)
        down, right = row - i, column - j
        above, below = table[i], table[i + 1]
        return (1.0 - down) * ((1.0 - right) * above[j] + right * above[j + 1]) + down * (
            (1.0 - right) * below[j] + right * below[j + 1]
        )


def seen(load: Arrivals) -> Seen:
    """Return a load that is not empty in few numbers."""
    found = traffic(load)
    classes = len(found.weights)
    widths = [np.append(column, found.weights @ column).tolist() for column in found.widths.T]
    return Seen(
        count=len(load),
        rate=load.rate,
        traffic=found,
        weights=tuple(found.weights.tolist()),
        levels=tuple(min(place * classes // CLASSES, classes - 1) for place in range(CLASSES)),
        widths=(*widths, [1.0] * (classes + 1)),
        sizes=np.append(found.sizes, found.weights @ found.sizes),
        lost=tuple(
            _lost(load, work).tolist() for work in (*load.widths.T.astype(np.float64), np.ones(len(load)))
        ),
        stretch=_stretch(load, found),
    )


def _stretch(load: Arrivals, found: Traffic) -> Stretch:
    """Return the requests that are replayed."""
    count = len(load)
    kinds = np.empty(count, np.int64)
    ends = np.round(np.cumsum(found.weights) * count)
    kinds[heavier(load)] = np.minimum(np.searchsorted(ends, np.arange(count), "right"), len(ends) - 1)
    at, places = load.at - load.at[0], np.arange(count)
    if count > REPLAYED:
        each = REPLAYED // PARTS
        begins = np.linspace(0, count - each, PARTS).astype(np.int64)
        places = (begins[:, None] + np.arange(each)).ravel()
        ends = np.cumsum(at[begins + each - 1] - at[begins] + APART) - APART
        at = at[places] - np.repeat(at[begins] - np.append(0.0, ends[:-1] + APART), each)
    brings = np.vstack((kinds[places], load.widths[places].T, np.ones(len(places))))
    return Stretch(at, np.ascontiguousarray(brings, np.int64))


def _lost(load: Arrivals, work: Floats) -> Floats:
    """Return (CAPACITIES, PATIENCES) the share of the requests that are refused."""
    mean = float(work.mean())
    if mean <= 0.0:
        return np.zeros((len(CAPACITIES), len(PATIENCES)))
    return refusals(load.at, work / mean, CAPACITIES * load.rate, PATIENCES)


def _make(digest: int) -> Callable[[Floats, Floats, Floats, Floats], Floats]:
    def refusals(at: Floats, work: Floats, capacities: Floats, patiences: Floats) -> Floats:
        """Return (capacities, patiences) the share of requests that find more seconds of work than a patience.

        The workload of a single server falls by a second a second and rises by w / c with each request that it takes
        (Lindley's recursion with balking).
        """
        if digest < 0:  # never; but so it is compiled anew where this source has changed
            return patiences.reshape(1, -1)
        found = np.zeros((len(capacities), len(patiences)))
        for row in range(len(capacities)):
            for column in range(len(patiences)):
                ahead, before = 0.0, 0.0
                for place in range(len(at)):
                    ahead = max(0.0, ahead - (at[place] - before))
                    before = at[place]
                    if ahead > patiences[column]:
                        found[row, column] += 1.0
                    else:
                        ahead += work[place] / capacities[row]
        return found / len(at)

    return refusals


refusals = entry(_make(zlib.crc32(Path(__file__).read_bytes())))
