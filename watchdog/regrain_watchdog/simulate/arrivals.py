"""When requests come: arrival processes as values, each of which draws its times from a generator that is handed in.

Equal generators give equal times. A process is what a table of a scenario says, with the same names (docs/load.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from regrain.errors import SpecError
from regrain_watchdog.simulate.trace import Trace

Floats = NDArray[np.float64]
MOST = 20_000_000
"""Requests of one drawing, so that a slip of the pen does not fill the memory."""
PARTS = 1_000_000
"""Times that one process may change its rate, so that a slip of the pen does not take for ever."""


@dataclass(frozen=True, slots=True, eq=False)
class Times:
    """When requests come.

    Attributes:
        at: (n,) seconds from the begin; ascending.
        rows: (n,) of the trace that they were taken from; -1 for those of none, and of a trace that only counts them.
        trace: that one, as it was read; None where there is none, or more than one.
    """

    at: Floats
    rows: NDArray[np.int64]
    trace: Trace | None = None


class Poisson(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="poisson"):
    """Independent requests, `rate` a second."""

    rate: float

    def __post_init__(self) -> None:
        """Refuse what is no rate."""
        _check_rates("rate", (self.rate,))

    def times(self, seconds: float, rng: np.random.Generator) -> Times:
        """Draw the requests of so many seconds."""
        return _made(_poisson(self.rate, 0.0, seconds, rng))


class MMPP(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="mmpp"):
    """A Poisson process whose rate changes: it stays exponentially long in a state, then goes to any other.

    `rates` are a second, `dwell` mean seconds in each state. It begins in the first.
    """

    rates: tuple[float, ...]
    dwell: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what is no process."""
        _check_rates("rates", self.rates)
        _check_positive("dwell", *self.dwell)
        if len(self.rates) != len(self.dwell) or len(self.rates) < 2:
            raise SpecError(
                "rates and dwell must have the same length, 2 or more; "
                f"they have {len(self.rates)} and {len(self.dwell)}"
            )

    def times(self, seconds: float, rng: np.random.Generator) -> Times:
        """Draw the requests of so many seconds."""
        _check_parts(seconds / (sum(self.dwell) / len(self.dwell)))
        begin, state, parts, expected = 0.0, 0, [], 0.0
        while begin < seconds:
            end = begin + rng.exponential(self.dwell[state])
            expected += self.rates[state] * (min(end, seconds) - begin)
            _check_number(expected)
            parts.append(_poisson(self.rates[state], begin, min(end, seconds), rng))
            begin, state = end, (state + int(rng.integers(1, len(self.rates)))) % len(self.rates)
        return _made(*parts)


class OnOff(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="onoff"):
    """A Poisson process of `rate` for `on` seconds and of `idle` for `off`, again and again."""

    rate: float
    on: float
    off: float
    idle: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no process."""
        _check_rates("rate", (self.rate, self.idle))
        _check_positive("on and off", self.on, self.off)

    def times(self, seconds: float, rng: np.random.Generator) -> Times:
        """Draw the requests of so many seconds."""
        cycles, rest = divmod(seconds, self.on + self.off)
        _check_parts(2 * cycles)
        lasts = cycles * self.on + min(rest, self.on)
        _check_number(self.rate * lasts + self.idle * (seconds - lasts))
        begin, busy, parts = 0.0, True, []
        while begin < seconds:
            end = begin + (self.on if busy else self.off)
            parts.append(_poisson(self.rate if busy else self.idle, begin, min(end, seconds), rng))
            begin, busy = end, not busy
        return _made(*parts)


class Diurnal(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="diurnal"):
    """A rate that swings as that of a day does: rate * (1 + swing * sin(2 pi (t / day + phase))) * noise.

    The noise is lognormal with standard deviation `noise` and mean 1, drawn anew every `step` seconds. `day` is in
    seconds: shorter days are days in time lapse.
    """

    rate: float
    swing: float = 0.5
    day: float = 86400.0
    phase: float = 0.0
    noise: float = 0.0
    step: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what is no process."""
        _check_rates("rate", (self.rate,))
        _check_positive("day and step", self.day, self.step)
        if not 0 <= self.swing <= 1:
            raise SpecError(f"swing must be in [0, 1], was {self.swing:g}")
        if not 0 <= self.noise <= 2:
            raise SpecError(f"noise must be in [0, 2], was {self.noise:g}")

    def times(self, seconds: float, rng: np.random.Generator) -> Times:
        """Draw the requests of so many seconds, by thinning (Lewis and Shedler 1979)."""
        _check_parts(seconds / self.step)
        steps = max(1, math.ceil(seconds / self.step))
        spread = math.sqrt(math.log1p(self.noise**2))
        noise = rng.lognormal(-(spread**2) / 2, spread, steps) if self.noise else np.ones(steps)
        most = self.rate * (1 + self.swing) * float(noise.max())
        at = _poisson(most, 0.0, seconds, rng)
        wave = 1 + self.swing * np.sin(2 * math.pi * (at / self.day + self.phase))
        rate = self.rate * wave * noise[np.minimum((at / self.step).astype(int), steps - 1)]
        return _made(at[rng.uniform(0.0, most, len(at)) < rate])


class Replay(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="trace"):
    """Requests as a trace has them.

    Attributes:
        trace: where it is and how it is read.
        part: begin and end of what is replayed, as shares of its span.
        speed: how many times as fast it runs.
        rate: requests a second in the mean, where it is to be another: requests are left out, or come several times,
            the copies between theirs and the next. 0 leaves it as it is.
    """

    trace: Trace
    part: tuple[float, float] = (0.0, 1.0)
    speed: float = 1.0
    rate: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no part and no speed."""
        _check_rates("rate", (self.rate,))
        _check_positive("speed", self.speed)
        if not 0 <= self.part[0] < self.part[1] <= 1:
            raise SpecError(f"part must be two ascending shares in [0, 1], was {list(self.part)}")

    def times(self, seconds: float, rng: np.random.Generator) -> Times:
        """Return the requests of the first seconds of the part; SpecError where it is shorter than that."""
        read = self.trace.read()
        begin, end = read.span * self.part[0], read.span * self.part[1]
        span = (end - begin) / self.speed
        if seconds > span * (1 + 1e-9):
            raise SpecError(
                f"{self.trace.file}: this part of the trace lasts {span:g} seconds, asked for were {seconds:g}; "
                "ask for no more, take a larger part, or a lower speed"
            )
        factor = self._factor(read.number(begin, end), span)
        at, rows = read.drawn(rng, begin, end, min(factor, 1.0))
        at = (at - begin) / self.speed
        if factor > 1.0:  # how many were drawn may differ from how many were expected
            inside = int(np.count_nonzero((at >= 0) & (at < span)))
            if not inside:
                raise SpecError(f"{self.trace.file}: this part of the trace has no requests")
            at, rows = _repeated(at, rows, span, self.rate * span / inside, rng)
        kept = (at >= 0) & (at < seconds)
        return Times(at[kept], rows[kept], self.trace)

    def _factor(self, number: float, span: float) -> float:
        """Return how often each of the part's requests comes in the mean; SpecError for no requests, and too many."""
        if self.rate and number <= 0:
            raise SpecError(f"{self.trace.file}: this part of the trace has no requests")
        requests = self.rate * span or number
        _check_number(requests)
        return requests / number if self.rate else 1.0


Process = Poisson | MMPP | OnOff | Diurnal | Replay


class Phase(Struct, frozen=True, forbid_unknown_fields=True):
    """A process for some seconds."""

    seconds: float
    process: Process

    def __post_init__(self) -> None:
        """Refuse what takes no time."""
        _check_positive("seconds", self.seconds)


def sequence(phases: tuple[Phase, ...], rng: np.random.Generator) -> Times:
    """Draw the requests of phases one after the other; SpecError where they are too many together."""
    begins = np.cumsum([0.0, *(phase.seconds for phase in phases)])
    drawn: list[Times] = []
    for phase in phases:
        drawn.append(phase.process.times(phase.seconds, rng))
        _check_number(sum(len(times.at) for times in drawn))
    traces = {times.trace for times in drawn}
    return Times(
        np.concatenate([begin + times.at for begin, times in zip(begins[:-1], drawn, strict=True)]),
        np.concatenate([times.rows for times in drawn]),
        traces.pop() if len(traces) == 1 else None,
    )


def _poisson(rate: float, begin: float, end: float, rng: np.random.Generator) -> Floats:
    """Return the times of a Poisson process: their number is Poisson, and given that each may be anywhere."""
    expected = rate * max(end - begin, 0.0)
    _check_number(expected)
    return np.sort(rng.uniform(begin, end, rng.poisson(expected)))


def _made(*parts: Floats) -> Times:
    at = np.concatenate(parts)
    return Times(at, np.full(len(at), -1))


def _repeated(
    at: Floats, rows: NDArray[np.int64], end: float, factor: float, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.int64]]:
    """Have each request come `factor` times in the mean, its copies anywhere before the next request or the end."""
    copies = _copies(len(at), factor, rng)
    gaps = np.repeat(np.diff(at, append=end), copies) * _later(copies, rng)
    at = np.repeat(at, copies) + gaps
    order = np.argsort(at, kind="stable")
    return at[order], np.repeat(rows, copies)[order]


def _copies(count: int, factor: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each of `count` requests comes, so that in the mean it is `factor` times."""
    whole, rest = divmod(factor, 1.0)
    return int(whole) + (rng.uniform(size=count) < rest).astype(np.int64)


def _later(copies: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Return, for each copy, the share of the gap by which it comes later: 0 for the first of each request."""
    shares = rng.uniform(size=int(copies.sum()))
    firsts = np.cumsum(copies) - copies
    shares[firsts[copies > 0]] = 0.0
    return shares


def _check_number(requests: float) -> None:
    if not requests <= MOST:
        raise SpecError(f"{requests:.0f} requests are more than the {MOST} that one load may have")


def _check_parts(parts: float) -> None:
    if not parts <= PARTS:
        raise SpecError(f"{parts:.3g} changes of the rate are more than the {PARTS} that one load may have")


def _check_rates(name: str, rates: tuple[float, ...]) -> None:
    for rate in rates:
        if not (math.isfinite(rate) and rate >= 0):
            raise SpecError(f"{name} must be requests a second, 0 or more; was {rate:g}")


def _check_positive(name: str, *values: float) -> None:
    for value in values:
        if not (math.isfinite(value) and value > 0):
            raise SpecError(f"{name} must be seconds (or a factor) above 0, was {value:g}")
