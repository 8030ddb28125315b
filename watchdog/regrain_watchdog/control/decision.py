"""What the controller decided and why, as a value that the log, the status and the live page tell."""

from __future__ import annotations

import math

from msgspec import Struct

from regrain.plan import Plan
from regrain_watchdog.policy.load import QUANTILES, SCALES, Arrivals, traits
from regrain_watchdog.policy.switch import Reason, Verdict

HOUR, THOUSAND = 3600.0, 1000.0
ALIKE = 0.005
"""Part by which costs differ that are told as the same."""


class Told(Struct, frozen=True, kw_only=True):
    """A plan as a decision tells it.

    Attributes:
        plan: the plan. grain: its grain.
        hit_rate: that is predicted. p95: seconds that are predicted; None where they have no end.
        cost: dollars an hour. per_thousand: dollars for a thousand requests at the rate that is expected.
        charge: dollars that the way there costs. seconds: that it takes.
        needs: seconds that the load would have to last for it to pay; None where that would not do.
        verdict: why it was taken or not.
    """

    plan: Plan
    grain: str
    hit_rate: float | None = None
    p95: float | None = None
    cost: float
    per_thousand: float | None = None
    charge: float = 0.0
    seconds: float = 0.0
    needs: float | None = None
    verdict: str = ""


class Shape(Struct, frozen=True, kw_only=True):
    """What the requests that were planned for are like, beside their rate.

    Attributes:
        bursts: by seconds over which requests are counted, variance over mean of the counts: 1 by chance (Poisson),
            more where they come in bursts; those alone that the window is long enough for.
        size: by quantile, bytes of a body. widths: likewise items, for each list of the flow.
    """

    bursts: dict[float, float] = {}
    size: dict[float, float] = {}
    widths: tuple[dict[float, float], ...] = ()

    @classmethod
    def of(cls, load: Arrivals) -> Shape:
        """Return what a load is like."""
        told = traits(load)
        pairs = zip(SCALES, told.dispersion, strict=True)
        return cls(
            bursts={scale: round(value, 3) for scale, value in pairs if math.isfinite(value)},
            size=_quantiles(told.size),
            widths=tuple(_quantiles(one) for one in told.widths),
        )


def _quantiles(values: tuple[float, ...]) -> dict[float, float]:
    return dict(zip(QUANTILES, values, strict=True)) if values else {}


class Decision(Struct, frozen=True, kw_only=True):
    """What was decided at a time.

    Attributes:
        number: of decisions so far.
        at: seconds on the observations' clock.
        woken: what it was decided for: "period", or what has changed.
        reason: by name, such as "CHEAPER". sentence: the same in words.
        plan: to be put in force; None where the one in force stays.
        present: the one in force.
        candidates: the best of each grain, the best first; before them `plan`, for its grain.
        rate, planned, peak: requests a second that are expected, that are planned for, and at the peak of late.
        dwell: seconds that the load is expected to last. shape: what its requests are like.
        bears: requests a second up to which the one in force is expected to meet the objective.
        measured: hit rate of the plan in force until this was decided, since the load or the plan changed.
        failures: how often planning has failed so far. detail: why it failed, or what is lacking.
    """

    number: int
    at: float
    woken: str
    reason: str
    sentence: str
    plan: Plan | None = None
    present: Told
    candidates: tuple[Told, ...] = ()
    rate: float | None = None
    planned: float | None = None
    peak: float | None = None
    dwell: float | None = None
    shape: Shape | None = None
    bears: float | None = None
    measured: float | None = None
    failures: int = 0
    detail: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """What it would take for other plans to be put in force, in sentences."""
        more = []
        if self.bears is not None:
            more = [
                f"for one that bears more: the load would have to exceed {self.bears:.3g} requests a second"
            ]
        return (*more, *(self._takes(told) for told in self.candidates if told.verdict))

    def _takes(self, told: Told) -> str:
        """Return what it would take for one plan."""
        if told.verdict == Reason.CHARGE.name and told.needs is not None:
            expected = f"{self.dwell or 0.0:.0f} s are expected"
            return f"{told.grain}: the load would have to last {told.needs:.0f} s; {expected}"
        if told.verdict == Reason.BEST.name and told.hit_rate is not None:
            saved = 1 - told.cost / self.present.cost
            than = "as much" if abs(saved) < ALIKE else f"{abs(saved):.0%} {'less' if saved > 0 else 'more'}"
            return f"{told.grain}: would cost {than}, with {told.hit_rate:.1%} in time"
        return f"{told.grain}: {Reason[told.verdict].value}"


def finite(value: float) -> float | None:
    """Return a number, or None where it is infinite or none."""
    return value if math.isfinite(value) else None


def words(verdict: Verdict) -> str:
    """Return the name of a verdict's reason."""
    return verdict.reason.name
