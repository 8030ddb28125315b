"""What load the controller expects: like that of late, at the rate that is forecast.

After a change point what came before it says nothing of the rate, so that the rate is that since then until the
forecast has had time to learn; and a window of requests from before it is at most stretched to the new rate.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from regrain_watchdog.control.observation import Observation
from regrain_watchdog.policy.change import Change, ChangeDetector
from regrain_watchdog.policy.forecast import NORMAL, QUANTILE, Forecaster
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.switch import expected_dwell
from regrain_watchdog.policy.window import RecentArrivals

HORIZON = 60.0
"""Seconds over which the rate is forecast."""
SETTLING = 30.0
"""Seconds after a change of the rate during which the rate since then is taken and no forecast."""
SETTLED = 15.0
"""Seconds after a change before which the rate is too vague to save on."""
BELIEF = 5.0
"""Seconds of requests for which the rate that the change point found counts."""
PEAK = 10.0
"""Seconds over which a peak is counted."""
ENOUGH, LEAST = 50, 20
"""Requests since a change that make a window of their own; requests below which nothing is planned."""
WATCHED = 10.0
"""Seconds before anything is said of the load."""
LONGEST = 600.0
KEPT = 20
"""Loads whose lasting the dwell is told from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The load that is planned for.

    Attributes:
        load: requests such as those to come.
        rate: that is expected, requests a second; `load` has some more, for what the rate may be off by.
        peak: the highest mean rate over PEAK seconds of late.
        dwell: seconds that this load is expected to last.
        is_settled: whether it has lasted for long enough to be taken for less than the one before.
    """

    load: Arrivals
    rate: float
    peak: float
    dwell: float
    is_settled: bool = True


class Outlook:
    """Learns of the load, observation by observation.

    lists: lists that the app's flow maps over. begin: when it begins to learn.
    window: seconds of requests that stand for those to come. lean: how far from the rate that is expected to the one
    that it stays below with probability 0.95, in [0, 1], is planned for.
    """

    def __init__(self, lists: int, *, begin: float, window: float, lean: float) -> None:
        self._recent = RecentArrivals(lists, begin=begin, seconds=LONGEST)
        self._detector = ChangeDetector(lists)
        self._forecaster = Forecaster()
        self._lists = lists
        self._window = window
        self._lean = lean
        self._now = self._changed = self._begin = begin
        self._since = 0
        self._after = math.nan
        self._lasted: deque[float] = deque(maxlen=KEPT)
        self._offset = self._regime = 0

    def take(self, seen: Observation) -> tuple[Change, ...]:
        """Take in what arrived; return what has changed."""
        self._note(seen)
        seconds, self._now = seen.now - self._now, seen.now
        if seconds <= 0:
            return ()
        widths = [seen.widened[seen.widened[:, 1] == place, 2].tolist() for place in range(self._lists)]
        changes = self._detector.update(seconds, len(seen.at), seen.size.tolist(), widths)
        self._forecaster.update(seconds, len(seen.at))
        self._since += len(seen.at)
        if changes:
            self._lasted.append(seen.now - self._changed)
            self._changed, self._since = seen.now, 0
            self._after = next((one.after for one in changes if one.what == "rate"), math.nan)
        if not math.isnan(self._after) and changes:
            self._forecaster = Forecaster()  # what it was off by at the change is no error to come
        return changes

    def expected(self) -> Expected | None:
        """Return what load is to be planned for; None where too few requests have been seen."""
        shape = self._shape()
        if len(shape) < LEAST or self._now - self._begin < WATCHED:
            return None
        rate, margin = self._rates(shape)
        least = 1.0 / LONGEST
        swing = max(0.0, _busiest(shape, HORIZON) * rate / shape.rate - rate)  # is among the requests already
        planned = max(rate + max(0.0, self._lean * margin - swing), least)
        return Expected(
            load=shape.scaled(planned),
            rate=max(rate, least),
            peak=max(self._peak(), planned),
            dwell=expected_dwell(tuple(self._lasted), self._now - self._changed),
            is_settled=self._now - self._changed >= SETTLED,
        )

    def _note(self, seen: Observation) -> None:
        offset = seen.first - self._recent.count
        if offset != self._offset:  # some were never told of
            self._offset, self._regime = offset, seen.first
        self._recent.extend(seen.at, seen.size)
        for number, place, width in seen.widened.tolist():
            if number >= self._regime:
                self._recent.widen(number - offset, place, width)

    def _shape(self) -> Arrivals:
        """Return requests of late: since the change if there are enough, else those before it, too."""
        lasted = self._now - self._changed
        for seconds in (min(lasted, self._window), self._window):
            found = self._recent.arrivals(now=self._now, seconds=max(seconds, 1.0))
            if len(found) >= ENOUGH:
                return found
        return self._recent.arrivals(now=self._now)

    def _rates(self, shape: Arrivals) -> tuple[float, float]:
        """Return the rate to come, and by how much it may be more, which it is with a probability of 0.05.

        A load that swings without changing is taken to go on swinging: what is forecast below its mean is no saving.
        """
        lasted = self._now - self._changed
        if math.isnan(self._after) or lasted >= SETTLING:
            told = self._forecaster.forecast(HORIZON)
            sure = 1.0 if math.isnan(told.coverage) else min(1.0, told.coverage / QUANTILE)
            return max(told.rate, shape.rate), sure * (told.high - told.rate)
        known = BELIEF + lasted
        rate = (self._after * BELIEF + self._since) / known
        return rate, NORMAL * math.sqrt(max(rate, 1.0 / known) / known)

    def _peak(self) -> float:
        """Return the highest mean rate over PEAK seconds since the change, of late."""
        lasted = min(self._now - self._changed, self._window)
        if lasted < PEAK:
            return 0.0
        return _busiest(self._recent.arrivals(now=self._now, seconds=lasted), PEAK)


def _busiest(load: Arrivals, seconds: float) -> float:
    """Return the highest mean rate over so many seconds of a load; 0.0 where it is shorter."""
    if not len(load) or load.span < seconds:
        return 0.0
    return float((np.searchsorted(load.at, load.at + seconds) - np.arange(len(load))).max()) / seconds
