"""The law of one station: how long requests are there, and how many find it too full to be in time.

A station is a birth and death chain over dispatches that run and, once all servers are busy, over units that wait.
"""

from __future__ import annotations

import functools
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

EVEN = 1e-7
"""Log of a ratio of chances below which the states of a segment are as probable as each other."""
ENDS = np.arange(1.0, CELLS + 1.0)
"""Where cells end."""


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
        queued: (phases, 1 + pieces) probability to find no server free: and nobody waiting; then each piece of a line.
        ahead: (phases, 1 + pieces) cells until a server is free, as the front expects them when a request finds that.
    """

    step: float
    sojourn: Floats
    own: Floats
    variance: Floats
    lost: Floats
    busy: float
    queued: Floats
    ahead: NDArray[np.int64]


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
    line = _Line(asked, rates * asked.units, patience, cell=2.0 * slo / CELLS, refuses=refuses)
    return line.law(line.chances(stays))


class _Line:
    """The chain of one station: its states, and what an arrival finds in each.

    Rows are phases, columns first the numbers 0..servers - 1 of dispatches that run while a server is free, then
    segments of the line, the first of which is nobody. The line is counted in steps of `step` units, in which a line
    with Poisson arrivals and exponential service has the same law as this one in units (heavy traffic; Kingman 1962): a
    line of D/D is short, one of arrivals in bunches long.

    Time is in cells. All of it is a few numbers, so what takes long is how often numpy is called.
    """

    def __init__(self, asked: Demand, rates: Floats, patience: float, *, cell: float, refuses: bool) -> None:
        self.asked = asked
        self.cell = cell
        self.rates = (rates * cell)[:, None]
        self.coming = np.maximum(self.rates, 1e-12 * cell)
        self.servers = max(1, math.ceil(asked.servers - 1e-9))
        self.running = np.arange(self.servers + 1)
        self.window = asked.max_wait / cell
        self.counts, self.table = np.arange(len(asked.seconds)), asked.seconds / cell
        pace = asked.servers
        most = float(asked.max_size)
        bunch = min(most, max(1.0, asked.bunch))
        whole = float(self.table[-1])
        variation = asked.scatter + most * asked.cv**2
        self.residual = (1.0 + min(1.0, variation / most)) / 2.0
        self.step = max(0.05, (asked.bunch + min(1.0, variation)) / 2.0)
        length = max(1.0, self._room(patience / cell, refuses=refuses) / self.step)
        self.widths, ends, middles = _cut(length)
        self.first = np.minimum(most, bunch + self.rates * self.window)
        self.run = np.interp(self.first, self.counts, self.table)
        self.batches, self.runs = self.first, self.run
        if most > 1.0:
            self.batches = np.minimum(np.maximum(self.step * middles, self.first), most)
            self.runs = np.interp(self.batches, self.counts, self.table)
        self.speed = pace * self.batches / self.runs
        self.slopes = np.log(self.coming / self.speed)
        if length <= SEGMENTS:
            self.enter = self.leave = places = np.zeros((len(rates), len(self.widths)))
        else:
            self.enter, self.leave, places = _within(self.slopes, self.widths)
        self.waiting = self.step * (ends + places)
        self.low = np.maximum(0.0, self.waiting - (most - bunch) / 2.0) * (whole / most / pace)

    def _room(self, patience: float, *, refuses: bool) -> float:
        """Return how many units wait at most: those that a server is expected to take in time."""
        asked = self.asked
        if not refuses:
            return float(self.rates.max()) * patience + asked.max_size
        turns = max(0.0, patience / max(float(self.table[-1]), 1e-9) * asked.servers - self.servers / 2.0)
        if turns >= 1.0:
            return turns * asked.max_size
        part = np.count_nonzero(self.table[1:] * (0.5 + 1.0 / self.servers) <= patience)
        return max(turns * asked.max_size, float(part))

    def chances(self, stays: Floats) -> Floats:
        """Return (phases, states) the probability of phase and state; `stays`: mean seconds of each phase."""
        if len(stays) > 1:
            return _coupled(*self._moves(), stays / self.cell)
        low = np.log(self.coming / self.first * self.run) * self.running - _log_factorials(self.servers)
        # the first state of a segment follows the last one of the segment before
        line = self.slopes * self.widths
        line[:, 0] = low[:, -1]
        logs = np.concatenate((low[:, :-1], line.cumsum(axis=1) - self.leave), axis=1)
        weights = np.exp(logs - logs.max())
        alone: Floats = weights / weights.sum()
        return alone

    def _moves(self) -> tuple[Floats, Floats]:
        """Return (phases, states) the rates up from each state and down from it; none beyond either end.

        What crosses a bound in the chain of units has crossed the whole segment before, in as many moves as that is
        wide. A segment that is one state does so in one, which takes as long; else a line would be full as soon as a
        burst begins. The law of a phase that lasts for ever is the same.
        """
        servers = self.servers
        apart = (self.widths[1:] + self.widths[:-1]) * (0.5 * self.step)
        up, down = np.zeros((2, len(self.rates), servers + len(self.widths)))
        up[:, :servers] = self.rates / self.first
        up[:, servers:-1] = self.rates / apart * np.exp(self.leave[:, :-1])
        down[:, 1 : servers + 1] = self.running[1:] / self.run
        down[:, servers + 1 :] = (self.speed * np.exp(self.enter))[:, 1:] / apart
        return up, down

    def law(self, chances: Floats) -> StationLaw:
        """Return what arrivals find, given how probable each state is."""
        servers, run = self.servers, self.run
        given = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-300)
        # the chance that an arrival finds the line as long as it may be
        lost = np.minimum(given[:, -1] * np.exp(self.leave[:, -1]), 1.0)
        given[:, -1] = np.maximum(given[:, -1] - lost, 0.0)
        given /= np.maximum(given.sum(axis=1, keepdims=True), 1e-300)
        free, queued = given[:, :servers].sum(axis=1, keepdims=True), given[:, servers:]
        passed = _ramps(queued, self.low + self.runs, self.runs * (2.0 * self.residual / servers))
        passed += free * self._windowed()
        sojourn = passed.copy()
        sojourn[:, 1:] -= passed[:, :-1]
        mean_run = free * run + (queued * self.runs).sum(axis=1, keepdims=True)
        turns = np.ceil(self.waiting / self.asked.max_size) * (mean_run / servers)
        ahead = np.minimum(turns + (0.5 * mean_run + 0.5), CELLS - 1.0).astype(np.int64)
        idle = chances[:, :servers] @ (1.0 - self.running[:-1] / servers)
        return StationLaw(
            step=self.cell,
            sojourn=sojourn,
            own=self._own(queued),
            variance=(self.asked.cv * self.cell * mean_run[:, 0]) ** 2,
            lost=lost,
            busy=1.0 - float(idle.sum()),
            queued=queued,
            ahead=ahead,
        )

    def _windowed(self) -> Floats:
        """Return (phases, CELLS) the chance that a unit which finds a free server is off by the end of each cell."""
        times = ENDS - self.run
        if self.window <= 0.0:  # what lies between two cells is shared by them
            return np.minimum(np.maximum(times + 0.5, 0.0), 1.0)
        most = np.minimum(self.window, np.maximum(self.first - 1.0, 0.0) / self.coming)
        most = np.where(self.first < self.asked.max_size, self.window, most)
        leader = 1.0 / self.first
        ramp = np.maximum(times, 0.0) / np.maximum(most, 1e-9)
        gone: Floats = np.where(times >= most, 1.0, (1.0 - leader) * ramp) * (times >= 0.0)
        return gone

    def _own(self, queued: Floats) -> Floats:
        """Return (phases, classes) by how many seconds a class is there longer than the mean of law."""
        asked = self.asked
        if asked.bunch <= 1.0:
            return np.array([asked.own] * len(queued))
        waits = queued.sum(axis=1, keepdims=True)
        busy = asked.drain if asked.lead is None else np.maximum(0.0, asked.drain - asked.lead)
        rounds = np.ceil(asked.widths / asked.max_size - 1e-9) - 1.0
        free = np.minimum(np.floor(np.maximum(0.0, rounds) / self.servers) * asked.seconds[-1], busy)
        units = np.minimum(asked.widths, asked.max_size)
        usual = (np.interp(units, self.counts, self.table) - self.run) * self.cell
        longer: Floats = asked.own + (1.0 - waits) * (free + usual) + waits * busy
        return longer


def _cut(length: float) -> Floats:
    """Return (3, 1 + segments) of a line: the width of each, the end of its first unit, and the sum of its ends.

    Before them is that nobody waits, which has the batches of the first one. Segments are one wide each in a short
    line, and fine at both ends of a long one.
    """
    if length <= SEGMENTS:
        return _short(math.ceil(length))
    even, bent = _long(SEGMENTS)
    found: Floats = even + (length - SEGMENTS) * bent
    return found


@functools.lru_cache(64)
def _short(segments: int) -> Floats:
    found = _laid(np.arange(segments + 1.0))
    found[0, 0] = 1.0
    found[1, 1:] += 1.0
    found[2] += 1.0
    return found


@functools.lru_cache(64)
def _long(segments: int) -> tuple[Floats, Floats]:
    """Return the segments of a line of as many units, and how they grow with each unit more."""
    even = np.linspace(0.0, 1.0, segments + 1)
    return _short(segments), _laid(even**3 * (10.0 - 15.0 * even + 6.0 * even**2))


def _laid(bounds: Floats) -> Floats:
    begins, ends = bounds[:-1], bounds[1:]
    middles = begins + ends
    return np.array(((0.0, *(ends - begins)), (0.0, *begins), (middles[0], *middles)))


def _within(slopes: Floats, widths: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what becomes of the states 0 .. width - 1 of segments with weights 1, r, r^2, .., slope = log r.

    The log of the share that the first state has of its segment, that of the last one, and the mean state.
    """
    falls = -np.maximum(np.abs(slopes), EVEN)
    one, whole = np.expm1(falls), np.expm1(falls * widths)
    heavier = np.log(one / whole)  # log of the share of the end that is more probable
    more = widths - 1.0
    lighter = heavier + falls * more
    mean = 1.0 / one - widths / whole  # from the end that is less probable
    rises = slopes > -EVEN
    return (
        np.where(rises, lighter, heavier),
        np.where(rises, heavier, lighter),
        np.where(rises, mean, more - mean),
    )


def _ramps(weights: Floats, begins: Floats, widths: Floats) -> Floats:
    """Return (rows, CELLS) at the end of each cell how much has passed of what is spread evenly over intervals.

    Args:
        weights: (rows, intervals) of each.
        begins: (rows, intervals) in cells.
        widths: (rows, intervals or 1) in cells.
    """
    steep = 1.0 / np.maximum(widths, 1e-6)
    shares = steep[:, :, None] * ENDS - (begins * steep)[:, :, None]
    np.maximum(shares, 0.0, out=shares)
    np.minimum(shares, 1.0, out=shares)
    passed: Floats = np.matmul(weights[:, None, :], shares)[:, 0]
    return passed


@functools.lru_cache(64)
def _log_factorials(most: int) -> Floats:
    """Return (most + 1,) log of 0!, 1!, .."""
    found: Floats = np.log(np.maximum(np.arange(most + 1), 1)).cumsum()
    return found


def _coupled(up: Floats, down: Floats, stays: Floats) -> Floats:
    """Return (2, states) the stationary law of two phases' chains that take turns.

    Args:
        up: (2, states) rates from each state to the next; 0 from the last.
        down: (2, states) those back; 0 from the first.
        stays: (2,) mean time of each phase.
    """
    states = up.shape[1]
    size = 2 * states
    turn = 1.0 / stays[:, None]
    flow = np.zeros((size, size))  # column by column the rates from each state
    flat, next_row = flow.reshape(-1), size + 1
    flat[size::next_row] = up.ravel()[:-1]
    flat[1::next_row] = down.ravel()[1:]
    flat[states * size :: next_row] = turn[0]
    flat[states : states * size : next_row] = turn[1]
    flat[::next_row] = -(up + down + turn).ravel()
    flow[0] = 1.0
    right = np.zeros(size)
    right[0] = 1.0
    found = np.linalg.solve(flow, right)
    chances: Floats = np.maximum(found.reshape(2, states), 0.0)
    return chances
