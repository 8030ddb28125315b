"""The law of one station: how long requests are there, and how many find it too full to be in time.

A station is a birth and death chain over dispatches that run and, once all servers are busy, over units that wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.admit import HEADROOM
from regrain_watchdog.policy.predict.demand import Demand

Floats = NDArray[np.float64]

SEGMENTS = 28
"""Pieces into which the line is cut; shorter lines are looked at unit by unit."""
CELLS = 256
"""Cells of a law's time grid, which covers twice the objective."""


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
    """

    step: float
    sojourn: Floats
    own: Floats
    variance: Floats
    lost: Floats
    busy: float
    batch: float

    def quantile(self, share: float, weights: Floats) -> float:
        """Return the seconds within which a share of the requests let in has passed; infinite beyond the grid."""
        reached = np.searchsorted(np.cumsum(weights @ self.sojourn), share)
        return float("inf") if reached >= CELLS else float((reached + 1) * self.step)


def station_law(asked: Demand, rates: Floats, stays: Floats, *, slo: float, budget: float) -> StationLaw:
    """Return the law of a station.

    Args:
        asked: what requests ask of it.
        rates: (phases,) requests a second that come in each phase.
        stays: (phases,) mean seconds of each.
        slo: seconds of the objective, for the grid.
        budget: seconds that a request can wait here and still be in time.
    """
    line = _Line(asked, rates * asked.units, budget)
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

    def __init__(self, asked: Demand, rates: Floats, budget: float) -> None:
        self.asked = asked
        self.rates = rates[:, None]
        self.servers = max(1, round(asked.servers))
        self.window = max(0.0, min(asked.max_wait, budget))
        most = float(asked.max_size)
        bunch = min(most, max(1.0, asked.bunch))
        self.first = np.minimum(most, bunch + self.rates * self.window)
        whole = self._seconds(np.array([[most]]))[0, 0]
        variation = asked.scatter + most * asked.cv**2
        self.step = max(0.05, (asked.bunch + min(1.0, variation)) / 2.0)
        turns = max(0.0, budget / HEADROOM / max(whole, 1e-9) * self.servers - self.servers / 2.0)
        self.edges = _edges(max(1.0, turns * most / self.step))
        self.widths = np.diff(self.edges)
        waiting = self.step * (self.edges[:-1] + self.edges[1:] + 1.0) / 2.0
        self.batches = np.clip(2.0 * waiting, self.first, most)
        self.runs = self._seconds(self.batches)
        speed = self.servers * self.batches / self.runs
        self.slopes = np.log(np.maximum(self.rates, 1e-12) / speed)
        self.slopes = np.where(np.abs(self.slopes) < 1e-7, 1e-7, self.slopes)
        self.speed = speed
        self.residual = (1.0 + min(1.0, variation / most)) / 2.0
        waiting = self.step * (self.edges[:-1] + 1.0 + _mean_place(self.slopes, self.widths))
        ahead = np.maximum(0.0, waiting - (most - bunch) / 2.0) / most
        self.low = ahead * whole / self.servers
        self.high = self.low + 2.0 * self.residual * self.runs / self.servers

    def _seconds(self, units: Floats) -> Floats:
        table = self.asked.seconds
        found: Floats = np.interp(units, np.arange(len(table)), table)
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
        alone = self._seconds(self.first)
        ratios = np.log(np.maximum(self.rates, 1e-12) / self.first * alone / busy)
        low = np.concatenate((np.zeros((len(self.rates), 1)), np.cumsum(ratios, axis=1)), axis=1)
        # the first state of a segment follows the last one of the segment before
        inner = self.slopes * (self.widths - 1.0)
        jumps = self.slopes.copy()
        jumps[:, 1:] += inner[:, :-1]
        first = low[:, -1:] + np.cumsum(jumps, axis=1)
        logs: Floats = np.concatenate((low, first + _log_sum(self.slopes, self.widths)), axis=1)
        return logs

    def _moves(self) -> tuple[Floats, Floats]:
        """Return (phases, states - 1) the rates up from each state and down to it."""
        busy = np.arange(1, self.servers + 1)
        size = _log_sum(self.slopes, self.widths)
        last = np.exp(self.slopes * (self.widths - 1.0) - size)
        first = np.exp(-size)
        pace = np.broadcast_to(self.rates / self.step, self.slopes.shape)
        up = np.concatenate(
            (np.repeat(self.rates / self.first, self.servers, axis=1), pace[:, :1], (pace * last)[:, :-1]),
            axis=1,
        )
        down = np.concatenate((busy / self._seconds(self.first), self.speed / self.step * first), axis=1)
        return up, down

    def law(self, chances: Floats, shares: Floats, slo: float) -> StationLaw:
        """Return what arrivals find, given how probable each state is."""
        asked, servers = self.asked, self.servers
        given = chances / np.maximum(chances.sum(axis=1, keepdims=True), 1e-300)
        size = _log_sum(self.slopes[:, -1:], self.widths[-1:])
        top = np.exp(self.slopes[:, -1:] * (self.widths[-1:] - 1.0) - size)
        lost = (given[:, -1:] * top)[:, 0]
        found = given.copy()
        found[:, -1] -= lost
        found /= np.maximum(found.sum(axis=1, keepdims=True), 1e-300)
        alone = self._seconds(self.first)
        step = 2.0 * slo / CELLS
        times = np.arange(1, CELLS + 1) * step
        # one that finds all servers busy and nobody waiting is the first of the line
        queued = found[:, servers:].copy()
        low = np.concatenate(
            (np.zeros((len(found), 1)), np.broadcast_to(self.low, self.slopes.shape)), axis=1
        )
        runs = np.concatenate((self.runs[:, :1], self.runs), axis=1)
        wide = np.concatenate((self.high[:, :1] - self.low[:, :1], self.high - self.low), axis=1)
        begin, width = low + runs, np.maximum(wide, 1e-9)
        passed = np.clip((times - begin[..., None]) / width[..., None], 0.0, 1.0)
        cdf = (queued[:, None, :] @ passed)[:, 0]
        free = found[:, :servers].sum(axis=1, keepdims=True)
        cdf += free * self._windowed(times - alone)
        sojourn = np.diff(cdf, axis=1, prepend=0.0)
        waits = queued.sum(axis=1)
        own = self._own(waits)
        mean_run = (free * alone)[:, 0] + (queued * runs).sum(axis=1)
        flow = chances[:, 1 : servers + 1] @ (np.arange(1, servers + 1) / servers) + chances[
            :, servers + 1 :
        ].sum(axis=1)
        batch = float(
            (
                shares
                * (
                    (free * self.first)[:, 0]
                    + queued[:, 0] * self.batches[:, 0]
                    + (queued[:, 1:] * self.batches).sum(axis=1)
                )
            ).sum()
        )
        return StationLaw(
            step=step,
            sojourn=sojourn,
            own=own,
            variance=(asked.cv * mean_run) ** 2,
            lost=np.clip(lost, 0.0, 1.0),
            busy=float(min(1.0, flow.sum())),
            batch=batch,
        )

    def _windowed(self, times: Floats) -> Floats:
        """Return the chance that a unit which finds a free server is off within so many seconds."""
        if self.window <= 0.0:
            return (times >= 0.0).astype(np.float64)
        most = np.minimum(self.window, np.maximum(self.first - 1.0, 0.0) / np.maximum(self.rates, 1e-9))
        most = np.where(self.first < self.asked.max_size, self.window, most)
        leader = 1.0 / self.first
        ramp = np.clip(times / np.maximum(most, 1e-9), 0.0, 1.0)
        gone: Floats = np.where(times >= most, 1.0, (1.0 - leader) * ramp) * (times >= 0.0)
        return gone

    def _own(self, waits: Floats) -> Floats:
        """Return (phases, classes) by how much longer a class is there than the mean of law."""
        asked = self.asked
        if asked.bunch == 1.0 and len(asked.widths) == 1:
            return np.repeat(asked.own[None, :], len(waits), axis=0)
        rounds = np.maximum(0.0, np.ceil(asked.widths / asked.max_size - 1e-9) - 1.0)
        whole = asked.seconds[-1]
        free = np.floor(rounds / self.servers) * whole
        busy = rounds * whole / self.servers
        usual = self._seconds(np.minimum(asked.widths, asked.max_size)) - self._seconds(self.first)
        longer: Floats = asked.own + (1.0 - waits[:, None]) * (free + usual) + waits[:, None] * busy
        return longer


def _edges(most: float) -> Floats:
    """Return the bounds of segments of the line: one wide each in a short one, fine at both ends in a long one."""
    if most <= SEGMENTS:
        return np.arange(int(np.ceil(most)) + 1, dtype=np.float64)
    at = np.linspace(0.0, 1.0, SEGMENTS + 1)
    straight = SEGMENTS / most
    return most * (straight * at + (1.0 - straight) * at**3 * (10.0 - 15.0 * at + 6.0 * at**2))


def _log_sum(slopes: Floats, widths: Floats) -> Floats:
    """Return log of 1 + r + ... + r^(width - 1), with slope = log r."""
    flat = np.abs(slopes)
    rising = np.where(slopes > 0.0, slopes * (widths - 1.0), 0.0)
    whole: Floats = rising + np.log(-np.expm1(-flat * widths)) - np.log(-np.expm1(-flat))
    return whole


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
    flow = np.zeros((2 * states, 2 * states))
    inner = np.arange(states - 1)
    both = np.arange(states)
    for phase in range(2):
        here = phase * states
        flow[here + inner, here + inner + 1] = up[phase]
        flow[here + inner + 1, here + inner] = down[phase]
        flow[here + both, (states - here) + both] = 1.0 / stays[phase]
    flow[np.arange(2 * states), np.arange(2 * states)] = -flow.sum(axis=1)
    flow[:, 0] = 1.0
    right = np.zeros(2 * states)
    right[0] = 1.0
    found = np.linalg.solve(flow.T, right)
    chances: Floats = np.maximum(found.reshape(2, states), 0.0)
    return chances
