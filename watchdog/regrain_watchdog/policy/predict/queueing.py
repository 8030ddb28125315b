"""The law of one station: how long requests are there, and how many find it too full to be in time.

A station is a birth and death chain over dispatches that run and, once all servers are busy, over units that wait.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.predict.demand import Demand

Floats = NDArray[np.float64]

SEGMENTS = 12
"""Pieces into which the line is cut; shorter lines are looked at unit by unit."""
CELLS = 96
"""Cells of a law's time grid, which covers twice the objective."""

STRAIGHT = np.linspace(0.0, 1.0, SEGMENTS + 1)
BENT = STRAIGHT**3 * (10.0 - 15.0 * STRAIGHT + 6.0 * STRAIGHT**2)
"""Where segments end, as shares of the line: all alike; and fine where it begins and where it is full."""
EVEN = 1e-7
"""Log of a ratio of chances below which the states of a segment are as probable as each other."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StationLaw:
    """What becomes of requests at a station, by the arrivals' phase.

    Attributes:
        step: seconds of a cell.
        sojourn: (phases, CELLS) probability that a request of mean class, if let in, is there for so long (of its last
            unit); what lies beyond the grid is missing from the sum.
        own: (phases, classes) seconds that a class is there longer.
        variance: (phases,) of a dispatch's jitter, which `sojourn` does not hold yet; squared seconds.
        lost: (phases,) share of the requests for which there is no room in time.
        busy: share of its servers' time that dispatches take.
        batch: mean units of a dispatch.
        ahead: (2, phases, CELLS) probability of the seconds until a server is free, as the front expects them when a
            request comes; first of all, then of those only that find nobody waiting.
    """

    step: float
    sojourn: Floats
    own: Floats
    variance: Floats
    lost: Floats
    busy: float
    batch: float
    ahead: Floats

    def quantile(self, share: float, weights: Floats) -> float:
        """Return the seconds within which a share of the requests let in has passed; infinite beyond the grid."""
        reached = np.searchsorted(np.cumsum(weights @ self.sojourn), share)
        return float("inf") if reached >= CELLS else float((reached + 1) * self.step)


def station_law(
    asked: Demand, rates: Floats, stays: Floats, *, slo: float, patience: float, refuses: bool = True
) -> StationLaw:
    """Return the law of a station.

    Args:
        asked: what requests ask of it.
        rates: (phases,) requests a second that come in each phase.
        stays: (phases,) mean seconds of each.
        slo: seconds of the objective, for the grid.
        patience: seconds that the front expects at most to pass before who is let in has a server.
        refuses: whether the front refuses others; if not, who waits for so long is shed.
    """
    line = _Line(asked, rates * asked.units, patience, refuses=refuses)
    chances = line.chances(stays)
    shares = stays / stays.sum() if len(stays) > 1 else np.ones(1)
    return line.law(chances, shares, slo)


class _Line:
    """The chain of one station: its states, and what an arrival finds in each.

    Rows are phases, columns first the numbers 0..servers of dispatches that run while nobody waits, then segments of
    the line. The line is counted in steps of `step` units, in which a line with Poisson arrivals and exponential
    service has the same law as this one in units (heavy traffic; Kingman 1962): a line of D/D is short, one of arrivals
    in bunches long.
    """

    def __init__(self, asked: Demand, rates: Floats, patience: float, *, refuses: bool) -> None:
        self.asked = asked
        self.rates = rates[:, None]
        self.servers = max(1, math.ceil(asked.servers - 1e-9))
        pace = asked.servers
        self.window = asked.max_wait
        most = float(asked.max_size)
        bunch = min(most, max(1.0, asked.bunch))
        whole = float(asked.seconds[-1])
        self._counts = np.arange(len(asked.seconds))
        self.first = np.minimum(most, bunch + self.rates * self.window) + 0.0 * self.rates
        variation = asked.scatter + most * asked.cv**2
        self.step = max(0.05, (asked.bunch + min(1.0, variation)) / 2.0)
        turns = max(0.0, patience / max(whole, 1e-9) * pace - self.servers / 2.0)
        part = np.count_nonzero(asked.seconds[1:] * (0.5 + 1.0 / self.servers) <= patience)
        room = max(turns * most, float(part)) if refuses else float(rates.max()) * patience + most
        self.edges = _edges(max(1.0, room / self.step))
        self.widths = self.edges[1:] - self.edges[:-1]
        found = self.step * (self.edges[:-1] + self.edges[1:] + 1.0)
        self.batches = np.minimum(np.maximum(found, self.first), most)
        self.runs = self._seconds(self.batches)
        self.run = self._seconds(self.first)
        speed = pace * self.batches / self.runs
        self.slopes = np.log(np.maximum(self.rates, 1e-12) / speed)
        self.slopes[np.abs(self.slopes) < EVEN] = EVEN
        self.spans = _log_sum(self.slopes, self.widths)
        self.speed = speed
        self.residual = (1.0 + min(1.0, variation / most)) / 2.0
        waiting = self.step * (self.edges[:-1] + 1.0 + _mean_place(self.slopes, self.widths))
        ahead = np.maximum(0.0, waiting - (most - bunch) / 2.0) / most
        self.low = ahead * whole / pace
        self.waiting = waiting

    def _seconds(self, units: Floats) -> Floats:
        table = self.asked.seconds
        found: Floats = np.interp(units, self._counts, table)
        return found

    def chances(self, stays: Floats) -> Floats:
        """Return (phases, states) the probability of phase and state."""
        logs = self._logs()
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        alone: Floats = weights / weights.sum(axis=1, keepdims=True)
        if len(stays) == 1:
            return alone
        return _coupled(*self._moves(), stays)

    def _logs(self) -> Floats:
        """Return log weights of the states of each phase if it lasted for ever."""
        busy = np.arange(1, self.servers + 1)
        ratios = np.log(np.maximum(self.rates, 1e-12) / self.first * self.run / busy)
        low = np.concatenate((np.zeros((len(self.rates), 1)), ratios.cumsum(axis=1)), axis=1)
        # the first state of a segment follows the last one of the segment before
        inner = self.slopes * (self.widths - 1.0)
        jumps = self.slopes.copy()
        jumps[:, 1:] += inner[:, :-1]
        first = low[:, -1:] + jumps.cumsum(axis=1)
        logs: Floats = np.concatenate((low, first + self.spans), axis=1)
        return logs

    def _moves(self) -> tuple[Floats, Floats]:
        """Return (phases, states - 1) the rates up from each state and down to it.

        What crosses a bound in the chain of units has crossed the whole segment before, in as many moves as that is
        wide. A segment that is one state does so in one, which takes as long; else a line would be full as soon as a
        burst begins. The law of a phase that lasts for ever is the same.
        """
        busy = np.arange(1, self.servers + 1)
        pace = self.rates / self.step
        last = pace * np.exp(self.slopes * (self.widths - 1.0) - self.spans)
        first = np.exp(-self.spans)
        up = np.concatenate(
            (np.repeat(self.rates / self.first, self.servers, axis=1), pace, last[:, :-1]),
            axis=1,
        )
        down = np.concatenate((busy / self.run, self.speed / self.step * first), axis=1)
        wide = np.concatenate((np.ones(self.servers + 1), self.widths))
        apart = (wide[:-1] + wide[1:]) / 2.0
        return up / apart, down / apart

    def law(self, chances: Floats, shares: Floats, slo: float) -> StationLaw:
        """Return what arrivals find, given how probable each state is."""
        asked, servers = self.asked, self.servers
        given = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-300)
        lost = self._lost(given)
        given[:, -1] = np.maximum(given[:, -1] - lost, 0.0)
        given /= np.maximum(given.sum(axis=1, keepdims=True), 1e-300)
        alone = self.run
        free = given[:, :servers].sum(axis=1, keepdims=True)
        queued = given[:, servers:]
        runs = np.concatenate((self.runs[:, :1], self.runs), axis=1)
        low = np.concatenate((np.zeros_like(free), self.low), axis=1)
        wide = 2.0 * self.residual * runs / servers
        step = 2.0 * slo / CELLS
        passed = _ramps(queued, (low + runs) / step, wide / step)
        passed += free * self._windowed(np.arange(1, CELLS + 1) * step - alone, step)
        sojourn = passed.copy()
        sojourn[:, 1:] -= passed[:, :-1]
        mean_run = (free * alone)[:, 0] + (queued * runs).sum(axis=1)
        working = np.minimum(np.arange(chances.shape[1]) / servers, 1.0)
        sizes = np.concatenate((np.repeat(self.first, servers + 1, axis=1), self.batches), axis=1)
        return StationLaw(
            step=step,
            sojourn=sojourn,
            own=self._own(queued.sum(axis=1)),
            variance=(asked.cv * mean_run) ** 2,
            lost=lost,
            busy=float((chances @ working).sum()),
            batch=float(shares @ (given * sizes).sum(axis=1)),
            ahead=self._ahead(given, mean_run, step),
        )

    def _lost(self, given: Floats) -> Floats:
        """Return (phases,) the chance that an arrival finds the line as long as it may be."""
        last = np.exp(self.slopes[:, -1] * (self.widths[-1] - 1.0) - self.spans[:, -1])
        lost: Floats = np.minimum(given[:, -1] * last, 1.0)
        return lost

    def _ahead(self, given: Floats, run: Floats, step: float) -> Floats:
        """Return the law of the wait as the front tells it; see StationLaw."""
        busy, line = given[:, self.servers : self.servers + 1], given[:, self.servers + 1 :]
        free = given[:, : self.servers].sum(axis=1, keepdims=True)
        turns = np.ceil(self.waiting / self.asked.max_size) / self.servers + 0.5
        waits = np.concatenate((np.zeros_like(turns[:, :1]), 0.0 * busy + 0.5, turns), axis=1)
        chances = np.concatenate((free, busy, line), axis=1)
        places = np.minimum(waits * run[:, None] / step + 0.5, CELLS - 1.0).astype(np.int64)
        rows = np.arange(len(given))[:, None] * CELLS
        nobody = chances.copy()
        nobody[:, 2:] = 0.0
        count = len(given) * CELLS
        flat = (places + rows).ravel()
        laws = np.zeros((2, count))
        for row, one in enumerate((chances, nobody)):
            laws[row] = np.bincount(flat, one.ravel(), count)
        return laws.reshape(2, len(given), CELLS)

    def _windowed(self, times: Floats, step: float) -> Floats:
        """Return the chance that a unit which finds a free server is off within so many seconds."""
        if self.window <= 0.0:  # what lies between two cells is shared by them
            return np.clip(times / step + 0.5, 0.0, 1.0)
        most = np.minimum(self.window, np.maximum(self.first - 1.0, 0.0) / np.maximum(self.rates, 1e-9))
        most = np.where(self.first < self.asked.max_size, self.window, most)
        leader = 1.0 / self.first
        ramp = np.maximum(times, 0.0) / np.maximum(most, 1e-9)
        gone: Floats = np.where(times >= most, 1.0, (1.0 - leader) * ramp) * (times >= 0.0)
        return gone

    def _own(self, waits: Floats) -> Floats:
        """Return (phases, classes) by how much longer a class is there than the mean of law."""
        asked = self.asked
        if asked.bunch <= 1.0:
            return np.repeat(asked.own[None, :], len(waits), axis=0)
        busy = asked.drain if asked.lead is None else np.maximum(0.0, asked.drain - asked.lead)
        rounds = np.ceil(asked.widths / asked.max_size - 1e-9) - 1.0
        free = np.minimum(np.floor(np.maximum(0.0, rounds) / self.servers) * asked.seconds[-1], busy)
        usual = self._seconds(np.minimum(asked.widths, asked.max_size)) - self.run
        longer: Floats = asked.own + (1.0 - waits[:, None]) * (free + usual) + waits[:, None] * busy
        return longer


def _edges(most: float) -> Floats:
    """Return the bounds of segments of the line: one wide each in a short one, fine at both ends in a long one."""
    if most <= SEGMENTS:
        return np.arange(int(np.ceil(most)) + 1, dtype=np.float64)
    straight = SEGMENTS / most
    edges: Floats = most * (straight * STRAIGHT + (1.0 - straight) * BENT)
    return edges


def _log_sum(slopes: Floats, widths: Floats) -> Floats:
    """Return log of 1 + r + ... + r^(width - 1), with slope = log r."""
    flat = np.abs(slopes)
    rising = np.where(slopes > 0.0, slopes * (widths - 1.0), 0.0)
    whole: Floats = rising + np.log(-np.expm1(-flat * widths)) - np.log(-np.expm1(-flat))
    return whole


def _ramps(weights: Floats, begins: Floats, widths: Floats) -> Floats:
    """Return (rows, CELLS) at the end of each cell how much has passed of what is spread evenly over intervals.

    Args:
        weights: (rows, intervals) of each.
        begins: (rows, intervals) in cells.
        widths: (rows, intervals) in cells.

    A ramp that begins at x is the double sum of 1 - f at the cell of x and f at the next, with f = x - floor(x).
    """
    steep = weights / np.maximum(widths, 1e-6)
    places = np.concatenate((begins, begins + np.maximum(widths, 1e-6)), axis=1)
    change = np.concatenate((steep, -steep), axis=1)
    whole = np.minimum(places.astype(np.int64), CELLS)
    rest = places - whole
    rows = np.arange(len(weights))[:, None] * (CELLS + 2)
    count = len(weights) * (CELLS + 2)
    flat = (whole + rows).ravel()
    bends: Floats = np.zeros(count)
    bends += np.bincount(flat, (change * (1.0 - rest)).ravel(), count)
    bends += np.bincount(flat + 1, (change * rest).ravel(), count)
    ramps: Floats = bends.reshape(len(weights), -1).cumsum(axis=1).cumsum(axis=1)[:, :CELLS]
    return ramps


def _mean_place(slopes: Floats, widths: Floats) -> Floats:
    """Return the mean of 0 .. width - 1 under weights 1, r, r^2, ..., with slope = log r."""
    mean: Floats = 1.0 / np.expm1(-slopes) - widths / np.expm1(np.minimum(-slopes * widths, 700.0))
    return mean


def _coupled(up: Floats, down: Floats, stays: Floats) -> Floats:
    """Return (2, states) the stationary law of two phases' chains that take turns.

    Args:
        up: (2, states - 1) rates from each state to the next.
        down: (2, states - 1) those back.
        stays: (2,) mean seconds of each phase.
    """
    states = up.shape[1] + 1
    size = 2 * states
    flow = np.zeros((size, size))
    flat, next_row, none = flow.reshape(-1), size + 1, np.zeros(1)
    flat[1::next_row] = np.concatenate((up[0], none, up[1]))
    flat[size::next_row] = np.concatenate((down[0], none, down[1]))
    flat[states : states * size : next_row] = 1.0 / stays[0]
    flat[states * size :: next_row] = 1.0 / stays[1]
    flat[::next_row] = -flow.sum(axis=1)
    flow[:, 0] = 1.0
    right = np.zeros(size)
    right[0] = 1.0
    found = np.linalg.solve(flow.T, right)
    chances: Floats = np.maximum(found.reshape(2, states), 0.0)
    return chances
