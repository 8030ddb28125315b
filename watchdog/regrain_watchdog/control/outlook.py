"""What load the controller expects: like that of late, at the rate that is forecast.

After a change point what came before it says nothing of the rate, so that the rate is that since then until the
forecast has had time to learn; and a window of requests from before it is at most stretched to the new rate.

A rate that turns every minute or so to one that was seen just before is no change: no plan would pay in the time that
it lasts. The load is bursty, and all of it since before it turned first is the load to plan for, until it has not
turned for long or turns less often. So the controller neither forgets the bursts in a lull nor wakes on each of them.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from regrain_watchdog.control.observation import Observation
from regrain_watchdog.policy.bursts import Bursts
from regrain_watchdog.policy.change import Change, ChangeDetector
from regrain_watchdog.policy.forecast import NORMAL, QUANTILE, Forecaster
from regrain_watchdog.policy.load import SCALES, Arrivals, counts, dispersion
from regrain_watchdog.policy.switch import expected_dwell
from regrain_watchdog.policy.window import RecentArrivals

HORIZON = 60.0
"""Seconds over which the rate is forecast."""
SETTLING = 30.0
"""Seconds after a change of the rate during which the rate since then is taken and no forecast."""
SETTLED = 15.0
"""Seconds after a change before which the rate is too vague to save on; after a rise it is SETTLING."""
BELIEF = 2.0
"""Seconds of requests for which the rate that the change point found counts."""
PEAK = 10.0
"""Seconds over which a peak is counted."""
ENOUGH, YOUNG, LEAST = 50, 200, 20
"""Requests since a change that make a window of their own, and while it is vague, for so few may look like a burst;
requests below which nothing is planned."""
WATCHED = 10.0
"""Seconds before anything is said of the load."""
LONGEST = 600.0
BURSTY, ALIKE = 300.0, 1.25
"""Seconds without a turn after which a load is bursty no more; a swing rises to no more than so many times what it was
over PEAK seconds in as long before. A few seconds of a lull say less, so that FAR counts there."""
SPELL, TURNS = 100.0, 6
"""Seconds between turns of the rate, in the mean of the last ones, below which they are those of a bursty load."""
LULL, FAR = 30.0, 2.0
"""Seconds over which a lull is counted, and times by which a bursty load must go beyond what it was to be another."""
SWINGING, TURBULENT = 2.0, 4.0
"""Index of dispersion of the counts over PEAK seconds, above which a load still swings, and above which it must."""
SURE = 2.5
"""Standard errors by which a rate is taken to be off at most."""
FRESH = 60.0
"""Seconds after a change until when what is told of the rate is acted on at once, though it may be off."""
LISTENING = 120.0
"""Seconds, from the begin or a rise to what may be a burst, in which it is not told yet how low the rate is."""
HELD, MOST_HELD = 600.0, 4 * 3600.0
"""Seconds for which a rate that was planned for counts on, doubled with each saving that had to be undone, at most."""
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
        is_fresh: whether it has come so lately that a plan was made for a vague rate.
        is_settled: whether it has lasted for long enough to be taken for less than the one before.
        is_bursty: whether its rate turns again and again.
        low: requests a second of which it is sure that they come; infinite where the load is known.
        least: requests a second that a plan must bear to be taken because it is cheaper: the most that this load was
            planned for of late, infinite where too little of it was seen.
    """

    load: Arrivals
    rate: float
    peak: float
    dwell: float
    is_fresh: bool = False
    is_settled: bool = True
    is_bursty: bool = False
    low: float = math.inf
    least: float = 0.0


class Outlook:
    """Learns of the load, observation by observation.

    lists: lists that the app's flow maps over. begin: when it begins to learn.
    window: seconds of requests that stand for those to come. lean: how far from the rate that is expected to the one
    that it stays below with probability 0.95, in [0, 1], is planned for.
    """

    def __init__(self, lists: int, *, begin: float, window: float, lean: float) -> None:
        self._recent = RecentArrivals(lists, begin=begin, seconds=LONGEST)
        self._detector = ChangeDetector(lists)
        self._bursts, self._learned = Bursts(), -math.inf
        self._forecaster = Forecaster()
        self._lists = lists
        self._window = window
        self._lean = lean
        self._now = self._changed = self._begin = begin
        self._since = 0
        self._after = math.nan
        self._lasted: deque[float] = deque(maxlen=KEPT)
        self._turns: deque[float] = deque(maxlen=TURNS)
        self._swung = -math.inf
        self._onset, self._before, self._rose = begin, 0.0, False
        self._planned: deque[tuple[float, float]] = deque()
        self._held = HELD
        self._offset = self._regime = 0

    def take(self, seen: Observation) -> tuple[Change, ...]:
        """Take in what arrived; return what has changed, but for the swings of a bursty load."""
        self._note(seen)
        seconds, self._now = seen.now - self._now, seen.now
        if seconds <= 0:
            return ()
        widths = [seen.widened[seen.widened[:, 1] == place, 2].tolist() for place in range(self._lists)]
        changes = self._detector.update(seconds, len(seen.at), seen.size.tolist(), widths)
        self._forecaster.update(seconds, len(seen.at))
        self._since += len(seen.at)
        rate = next((one for one in changes if one.what == "rate"), None)
        if rate is not None:
            self._forecaster = Forecaster()  # what it was off by at the change is no error to come
            if self._is_swing(rate):
                self._swing()
                changes = tuple(one for one in changes if one is not rate)
                rate = None
            self._turns.append(seen.now)
        if self.is_bursty and rate is None:
            rate = self._left(seconds, len(seen.at))
            changes += () if rate is None else (rate,)
        if changes:
            self._begin_anew(rate)
        elif self.is_bursty and seen.now - self._swung > BURSTY:
            self._settle()
        elif not self.is_bursty and seen.now - self._changed >= LISTENING and self._swings() > TURBULENT:
            self._swung = seen.now
        return changes

    def regret(self, saved: float) -> None:
        """Be slower to take this load for less: a plan that was taken at a time for being cheaper does not do."""
        if saved >= self._changed:
            self._held = min(2 * self._held, MOST_HELD)

    @property
    def is_bursty(self) -> bool:
        """Whether the rate turns again and again."""
        return self._swung > -math.inf

    @property
    def _is_fresh(self) -> bool:
        return self._begin < self._changed and self._now - self._changed < FRESH and not self.is_bursty

    @property
    def young(self) -> float | None:
        """The rate since a change while that is vague, requests a second; None once it is settled."""
        if math.isnan(self._after) or self._now - self._changed >= SETTLING or self.is_bursty:
            return None
        return self._since_change()[0]

    def expected(self) -> Expected | None:
        """Return what load is to be planned for; None where too few requests have been seen."""
        shape = self._shape()
        if len(shape) < LEAST or self._now - self._begin < WATCHED:
            return None
        rate, margin = self._rates(shape)
        error = rate * math.sqrt((_spread(shape) + _unlike(shape)) / len(shape))
        least = 1.0 / LONGEST
        swing = 0.0  # of what is among the requests already; a rate that is vague may be more all the same
        if self.young is None:
            swing = max(0.0, _busiest(shape, HORIZON) * rate / shape.rate - rate)
        planned = max(rate + max(0.0, self._lean * margin - swing), least)
        return Expected(
            load=shape.scaled(planned),
            rate=max(rate, least),
            peak=max(self._peak(), planned),
            dwell=expected_dwell(tuple(self._lasted), self._now - self._changed),
            is_fresh=self._is_fresh,
            is_settled=self._is_settled(),
            is_bursty=self.is_bursty,
            low=math.inf if self._is_fresh else max(rate - SURE * error, least),
            least=self._least(planned, 0.0 if self._is_fresh else rate + error),
        )

    def _is_settled(self) -> bool:
        """Whether a load may be saved on: one that rose not before it is clear that it was not for a burst.

        And one that swings not before it has been seen to swing for long: few bursts tell little of those to come.
        """
        lasted = self._now - self._changed
        if self.is_bursty:
            return lasted >= BURSTY
        if not self._rose or lasted >= LISTENING:
            return lasted >= SETTLED
        since = self._recent.arrivals(now=self._now, seconds=max(lasted, 1.0))
        return lasted >= SETTLING and dispersion(counts(since, 1.0)) <= SWINGING

    def _begin_anew(self, rate: Change | None) -> None:
        """Have another load from now on."""
        self._lasted.append(self._now - self._changed)
        self._after, self._onset = math.nan, self._now
        if rate is not None:
            self._after, self._onset = rate.after, self._now - rate.seconds
            self._swung = self._learned = -math.inf
            self._bursts.forget()
        self._before = max(1.0, self._onset - self._changed)
        self._changed, self._since = self._now, 0
        self._held = HELD
        self._rose = rate is not None and rate.after > rate.before
        if not self._rose:
            self._planned.clear()

    def _is_swing(self, change: Change) -> bool:
        """Whether the rate turns often, and now to what it was before."""
        if not self._turns or self._now - self._turns[0] > SPELL * len(self._turns):
            return False
        past = self._recent.arrivals(now=self._now - change.seconds, seconds=BURSTY)
        if change.after > change.before:
            return change.after <= ALIKE * _busiest(past, PEAK)
        return change.after >= _quietest(past, PEAK) / FAR

    def _left(self, seconds: float, count: int) -> Change | None:
        """Return the change of a bursty load to another one; what was learned of the rate says nothing of it."""
        change = self._leap(seconds, count) or self._beyond()
        if change is not None:
            self._forecaster = Forecaster()
            self._detector.leave()
        return change

    def _leap(self, seconds: float, count: int) -> Change | None:
        """Return the change of a bursty load to more than its bursts ever brought."""
        if self._now - self._learned >= PEAK:
            self._learned = self._now
            past = self._recent.arrivals(now=self._now - self._bursts.seconds, seconds=LONGEST)
            self._bursts.learn(counts(past, 1.0))
        change = self._bursts.update(seconds, count)
        if change is None:
            return None
        past = self._recent.arrivals(now=self._now - change.seconds, seconds=LONGEST)
        if change.after <= _busiest(past, change.seconds):
            return None
        return change

    def _beyond(self) -> Change | None:
        """Return the change of a bursty load to far more or less than it ever was, which is no matter of seconds.

        Of so many requests a second that too few seconds of them are remembered nothing is said.
        """
        for seconds, is_up in ((PEAK, True), (LULL, False)):
            past = self._recent.arrivals(now=self._now - seconds, seconds=BURSTY)
            if past.span < seconds:
                continue
            rate = self._recent.arrivals(now=self._now, seconds=seconds).rate
            if rate > FAR * _busiest(past, PEAK) if is_up else FAR * rate < _quietest(past, LULL):
                return Change(what="rate", before=past.rate, after=rate, seconds=seconds)
        return None

    def _swing(self) -> None:
        """Take what came before the rate turned for the same load."""
        if not self.is_bursty:
            if self._lasted:
                self._lasted.pop()
            self._changed = max(self._begin, min(self._changed, self._turns[-1] - BURSTY))
        self._swung = self._now

    def _settle(self) -> None:
        """See whether the load still swings, which the detector misses once it knows it to; else it is a new one."""
        if self._swings() > SWINGING:
            self._swung = self._now - BURSTY / 2
        else:
            self._changed, self._swung, self._after = self._swung, -math.inf, math.nan

    def _swings(self) -> float:
        """Return the index of dispersion of the counts over PEAK seconds since the change; NaN of too few."""
        lasted = min(self._now - self._changed, LONGEST)
        return dispersion(counts(self._recent.arrivals(now=self._now, seconds=lasted), PEAK))

    def _least(self, planned: float, high: float) -> float:
        """Return what a cheaper plan must bear, `high` at least, and remember what is planned for if that is known."""
        if not self._is_fresh:
            self._planned.append((self._now, planned))
        while self._planned and self._planned[0][0] < self._now - self._held:
            self._planned.popleft()
        if self._now - self._begin < LISTENING:
            return math.inf
        return max([planned, high, *(rate for _, rate in self._planned)])

    def _note(self, seen: Observation) -> None:
        offset = seen.first - self._recent.count
        if offset != self._offset:  # some were never told of
            self._offset, self._regime = offset, seen.first
        self._recent.extend(seen.at, seen.size)
        for number, place, width in seen.widened.tolist():
            if number >= self._regime and place < self._lists:  # an update may have removed it
                self._recent.widen(number - offset, place, width)

    def _shape(self) -> Arrivals:
        """Return requests of late: since the change if there are enough, else those before it, too.

        Where nothing but the rate has changed those before it are as good, without those since: both would be a burst.
        """
        window = LONGEST if self.is_bursty else self._window
        lasted = max(1.0, min(self._now - self._changed, window))
        enough = ENOUGH if self.young is None else YOUNG
        before = () if math.isnan(self._after) else ((self._onset, min(self._before, window), LEAST),)
        for end, seconds, least in ((self._now, lasted, enough), *before, (self._now, window, ENOUGH)):
            found = self._recent.arrivals(now=end, seconds=seconds)
            if len(found) >= least:
                return found
        return self._recent.arrivals(now=self._now)

    def _rates(self, shape: Arrivals) -> tuple[float, float]:
        """Return the rate to come, and by how much it may be more, which it is with a probability of 0.05.

        A load that swings without changing is taken to go on swinging: what is forecast below its mean is no saving.
        """
        lasted = self._now - self._changed
        if self.is_bursty:
            return shape.rate, 0.0
        if math.isnan(self._after) or lasted >= SETTLING:
            told = self._forecaster.forecast(HORIZON)
            sure = 1.0 if math.isnan(told.coverage) else min(1.0, told.coverage / QUANTILE)
            mean = shape.rate if shape.span <= lasted + 1.0 else 0.0  # is not of this load else
            return max(told.rate, mean), sure * (told.high - told.rate)
        return self._since_change()

    def _since_change(self) -> tuple[float, float]:
        known = BELIEF + self._now - self._changed
        rate = (self._after * BELIEF + self._since) / known
        return rate, NORMAL * math.sqrt(max(rate, 1.0 / known) / known)

    def _peak(self) -> float:
        """Return the highest mean rate over PEAK seconds since the change, of late."""
        lasted = min(self._now - self._changed, self._window)
        if lasted < PEAK:
            return 0.0
        return _busiest(self._recent.arrivals(now=self._now, seconds=lasted), PEAK)


def _spread(load: Arrivals) -> float:
    """Return the index of dispersion of the counts over some seconds, 1 at least and where it cannot be told."""
    told = [dispersion(counts(load, scale)) for scale in SCALES]
    return max([1.0, *(one for one in told if math.isfinite(one))])


def _unlike(load: Arrivals) -> float:
    """Return the squared coefficient of variation of the widths, of the list that varies most; 0.0 without lists.

    The work of n requests varies by its share of 1 / n, beside the number of them.
    """
    if not load.widths.size:
        return 0.0
    mean = load.widths.mean(axis=0)
    return float((load.widths.var(axis=0) / np.maximum(mean, 1.0) ** 2).max())


def _quietest(load: Arrivals, seconds: float) -> float:
    """Return the lowest mean rate over so many seconds that begin with a request; 0.0 where it is shorter."""
    begin = load.at[load.at + seconds <= load.span]
    if not len(begin):
        return 0.0
    return (
        float((np.searchsorted(load.at, begin + seconds) - np.searchsorted(load.at, begin)).min()) / seconds
    )


def _busiest(load: Arrivals, seconds: float) -> float:
    """Return the highest mean rate over so many seconds of a load; 0.0 where it is shorter."""
    if not len(load) or load.span < seconds:
        return 0.0
    return float((np.searchsorted(load.at, load.at + seconds) - np.arange(len(load))).max()) / seconds
