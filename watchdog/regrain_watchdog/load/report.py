"""What came of a load: the same report whether it was live or simulated, so that the two can be held side by side.

The hit rate is of all that were offered: late, shed, failed and unfinished requests are misses. Left out are malformed
requests (4xx but 429) and those that were cancelled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from regrain.errors import RegrainError
from regrain_watchdog.front.measure import outcome
from regrain_watchdog.load.drive import INTERRUPTED, TIMEOUT, Sent

VERSION = 1
OUTCOMES = ("hit", "late", "shed", "failed", "unfinished", "cancelled", "malformed")
JUDGED = 5
"""The first so many outcomes count in the hit rate."""
SHARES = (*(round(0.01 * place, 2) for place in range(100)), 0.995, 0.999, 1.0)
"""At which the distribution of latencies is kept."""
BINS = 120
"""Stretches of time that a course is told in at most."""


class ReportError(RegrainError):
    """A report that cannot be read."""


class Bin(Struct, frozen=True, kw_only=True):
    """A stretch of time: requests by their intended arrival. None where there was nothing to tell it from.

    Attributes:
        begin: seconds. rate: requests a second.
        hit_rate: of them. p50, p95: seconds.
        cost: dollars an hour that was reserved then.
    """

    begin: float
    rate: float
    hit_rate: float | None = None
    p50: float | None = None
    p95: float | None = None
    cost: float | None = None


class Cost(Struct, frozen=True, kw_only=True):
    """Dollars: of what was reserved over the whole time and of the requests, and of 1,000 offered requests.

    `per_thousand` is None where none were offered.
    """

    total: float
    per_thousand: float | None


class Lateness(Struct, frozen=True, kw_only=True):
    """Seconds by which the generator took requests up after their intended arrival."""

    p50: float
    p99: float
    most: float


class Decisions(Struct, frozen=True, kw_only=True):
    """What a controller decided: how often, how often for another plan, and how often for which reason."""

    made: int
    changes: int
    reasons: dict[str, int]


class AppReport(Struct, frozen=True, kw_only=True):
    """What came of one app's load.

    Attributes:
        app: its name. slo: seconds, None where an answer at any time is a hit. attainment: that is asked for.
        offered: requests that count. outcomes: requests by what came of them; those of the last two kinds do not count.
        hit_rate: None where nothing counts.
        rate, throughput: requests offered, and answers given, a second.
        latency: seconds at "p50", "p95", "p99" and so on, and "mean", of those answered; empty without any.
        distribution: seconds at each of SHARES, of those answered.
        cost: None where it is not known.
        lateness: of the generator; None for what was simulated.
        errors: what requests without an answer ended in, by how often.
        grains: (second, grain) of each grain that was seen in force.
        decisions: None where the plan was not adapted.
        course: over time.
    """

    app: str
    slo: float | None
    attainment: float | None
    offered: int
    outcomes: dict[str, int]
    hit_rate: float | None
    rate: float
    throughput: float
    latency: dict[str, float]
    distribution: tuple[float, ...]
    cost: Cost | None = None
    lateness: Lateness | None = None
    errors: dict[str, int] = {}
    grains: tuple[tuple[float, str], ...] = ()
    decisions: Decisions | None = None
    course: tuple[Bin, ...] = ()


class Report(Struct, frozen=True, kw_only=True):
    """What came of a load.

    Attributes:
        source: whether it was run or simulated. began: unix seconds. took: seconds.
        scenario: the file, or "". seed: of it. duration: seconds of load.
        interrupted: it was ended early.
        notes: what a reader should know.
    """

    source: Literal["live", "simulated"]
    began: float
    took: float
    scenario: str
    seed: int
    duration: float
    interrupted: bool
    notes: tuple[str, ...]
    apps: tuple[AppReport, ...]
    version: int = VERSION


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Results:
    """Requests of one app.

    Attributes:
        at: (n,) intended arrivals in seconds; ascending or not.
        latency: (n,) seconds; NaN where there was no answer.
        outcome: (n,) places in OUTCOMES.
    """

    at: NDArray[np.float64]
    latency: NDArray[np.float64]
    outcome: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Spending:
    """What an app reserved over time: dollars a second from each of `at` (ascending seconds) until the next."""

    at: Sequence[float]
    rate: Sequence[float]
    request: float

    def total(self, end: float, requests: int) -> float:
        """Return the dollars until a time, with those of so many requests."""
        spans = np.diff(np.minimum([*self.at, end], end))
        return float(np.dot(spans, self.rate)) + requests * self.request

    def between(self, begin: float, end: float) -> float | None:
        """Return the mean dollars a second of a stretch; None where nothing is known of it."""
        if not self.at or end <= self.at[0]:
            return None
        low = max(begin, self.at[0])
        return (self.total(end, 0) - self.total(low, 0)) / (end - low)


def results(sent: Sequence[Sent], slo: float | None) -> Results:
    """Judge the requests of one app, by what the hit rate is defined as."""
    named = [judge(one, slo) for one in sent]
    answered = [one.status and one.status < 400 for one in sent]
    return Results(
        at=np.array([one.at for one in sent], dtype=np.float64),
        latency=np.array(
            [one.latency if was else math.nan for one, was in zip(sent, answered, strict=True)],
            dtype=np.float64,
        ),
        outcome=np.array([OUTCOMES.index(name) for name in named], dtype=np.int64),
    )


def judge(sent: Sent, slo: float | None) -> str:
    """Return what came of a request: one of OUTCOMES. `slo` is None where any answer is a hit."""
    if sent.status:
        return outcome(sent.status, sent.latency, slo) or "malformed"
    return {TIMEOUT: "unfinished", INTERRUPTED: "cancelled"}.get(sent.error, "failed")


def summarise(
    app: str,
    found: Results,
    duration: float,
    *,
    slo: float | None,
    attainment: float | None,
    spending: Spending | None = None,
    grains: Sequence[tuple[float, str]] = (),
    decisions: Decisions | None = None,
    sent: Sequence[Sent] = (),
) -> AppReport:
    """Return what came of an app's load.

    Args:
        app: its name.
        found: its requests.
        duration: seconds of load.
        slo: seconds.
        attainment: that is asked for.
        spending: what it reserved, where that is known.
        grains: that were in force.
        decisions: of a controller.
        sent: the requests as a generator sent them, which tells how late it was and what errors there were.
    """
    counts = np.bincount(found.outcome, minlength=len(OUTCOMES))
    offered = int(counts[:JUDGED].sum())
    answered = np.sort(found.latency[np.isfinite(found.latency)])
    return AppReport(
        app=app,
        slo=slo,
        attainment=attainment,
        offered=offered,
        outcomes={name: int(count) for name, count in zip(OUTCOMES, counts, strict=True)},
        hit_rate=_hit_rate(counts),
        rate=offered / duration,
        throughput=len(answered) / duration,
        latency=_latency(answered),
        distribution=tuple(float(value) for value in np.quantile(answered, SHARES)) if len(answered) else (),
        cost=_cost(spending, duration, offered),
        lateness=_lateness(sent),
        errors=dict(Counter(one.error for one in sent if one.error)),
        grains=tuple(grains),
        decisions=decisions,
        course=_course(found, duration, spending),
    )


def _hit_rate(counts: NDArray[np.int64]) -> float | None:
    judged = int(counts[:JUDGED].sum())
    return float(counts[0]) / judged if judged else None


def _latency(answered: NDArray[np.float64]) -> dict[str, float]:
    if not len(answered):
        return {}
    quantiles = {
        f"p{100 * share:g}": float(np.quantile(answered, share)) for share in (0.5, 0.9, 0.95, 0.99, 0.999)
    }
    return {"mean": float(answered.mean())} | quantiles | {"max": float(answered[-1])}


def _cost(spending: Spending | None, duration: float, offered: int) -> Cost | None:
    if spending is None or not spending.at:
        return None
    total = spending.total(duration, offered)
    return Cost(total=total, per_thousand=1000 * total / offered if offered else None)


def _lateness(sent: Sequence[Sent]) -> Lateness | None:
    late = [one.late for one in sent]
    if not late:
        return None
    return Lateness(p50=float(np.median(late)), p99=float(np.quantile(late, 0.99)), most=max(late))


def _course(found: Results, duration: float, spending: Spending | None) -> tuple[Bin, ...]:
    width = max(1.0, math.ceil(duration / BINS))
    bins = math.ceil(duration / width)
    places = np.minimum((found.at / width).astype(int), bins - 1)
    return tuple(
        _bin(found, places == place, place * width, min((place + 1) * width, duration), spending)
        for place in range(bins)
    )


def _bin(
    found: Results, inside: NDArray[np.bool_], begin: float, end: float, spending: Spending | None
) -> Bin:
    counts = np.bincount(found.outcome[inside], minlength=len(OUTCOMES))
    latency = found.latency[inside]
    latency = latency[np.isfinite(latency)]
    p50, p95 = (float(value) for value in np.quantile(latency, (0.5, 0.95))) if len(latency) else (None, None)
    rate = spending.between(begin, end) if spending is not None else None
    return Bin(
        begin=begin,
        rate=int(counts[:JUDGED].sum()) / (end - begin),
        hit_rate=_hit_rate(counts),
        p50=p50,
        p95=p95,
        cost=3600 * rate if rate is not None else None,
    )


def dumps(report: Report) -> bytes:
    """Return a report as JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def loads(data: bytes) -> Report:
    """Read a report; ReportError says what is wrong in it."""
    try:
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReportError(f"this is no report: {error}") from error
    if report.version != VERSION:
        raise ReportError(f"the report has version {report.version}; this Regrain reads version {VERSION}")
    return report


class Total(Struct, frozen=True, kw_only=True):
    """All apps of a report taken together; None where something is not known of one of them.

    Attributes:
        offered: requests. hit_rate: of them. cost: dollars. per_thousand: of them.
        changes: of plans.
    """

    offered: int
    hit_rate: float | None
    cost: float | None
    per_thousand: float | None
    changes: int


def total(report: Report) -> Total:
    """Add the apps of a report up."""
    offered = sum(app.offered for app in report.apps)
    costs = [app.cost.total for app in report.apps if app.cost is not None]
    cost = sum(costs) if len(costs) == len(report.apps) else None
    return Total(
        offered=offered,
        hit_rate=sum(app.outcomes["hit"] for app in report.apps) / offered if offered else None,
        cost=cost,
        per_thousand=1000 * cost / offered if cost is not None and offered else None,
        changes=sum(app.decisions.changes for app in report.apps if app.decisions is not None),
    )


def gaps(one: AppReport, other: AppReport) -> Mapping[str, tuple[float | None, float | None]]:
    """Return what two reports of an app say of the same things, side by side."""
    rows: dict[str, tuple[float | None, float | None]] = {"hit rate": (one.hit_rate, other.hit_rate)}
    rows |= {name: (one.latency.get(name), other.latency.get(name)) for name in ("p50", "p95", "p99")}
    rows["throughput"] = one.throughput, other.throughput
    costs = [report.cost.per_thousand if report.cost is not None else None for report in (one, other)]
    rows["cost of 1,000"] = costs[0], costs[1]
    return rows
