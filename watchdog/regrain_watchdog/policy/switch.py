"""Whether another plan is worth going over to: what it gains must pay for what the way there costs.

A switch costs what is reserved twice until the new plan serves, and it may be regretted: the load that makes the other
plan better lasts only so long (the dwell). So a plan that is merely cheaper must save, within the dwell that is to be
expected, more than the way costs and a margin on top. A plan that meets the objective where the present one does not is
taken at once: what waits for the dwell there are misses.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

PRIOR_DWELL, PRIOR_WEIGHT = 600.0, 1.0
"""Seconds that a load is taken to last before it was seen to change, and how many seen ones that weighs."""


class Reason(enum.Enum):
    """Why a plan rules."""

    MEETS = "it meets the objective and the present plan does not"
    HITS = "none meets the objective and it comes closer"
    CHEAPER = "it is cheaper by more than the way there costs"
    BEST = "no candidate is better"
    MARGIN = "a better one is too little better"
    CHARGE = "a cheaper one would not earn back what the way there costs"
    HELD = "it is held by an operator"
    BUSY = "a change is under way"
    RATE = "the plan was changed too often lately"
    ROLLBACK = "the plan before it did worse than predicted"
    PEAK = "a cheaper one would not bear the peaks of late"
    TAKES = "another app would have to do with less for a load that may not last"
    EARLY = "a cheaper one has to wait until it is known how far the load has fallen"
    UNKNOWN = "too little is known yet of the load or of the stages"
    NONE = "no plan could be found"
    FAILED = "the planner failed"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a plan is expected to do under the load to come: its hit rate, and dollars a second."""

    hit_rate: float
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms plans are changed.

    Attributes:
        attainment: the share of requests that is to be in time.
        slack: of hit rate by which the present plan may be expected to miss the objective, and by which another one
            that misses it must be better, since that is told from a sample of the load and changing on a guess costs.
        points: of hit rate by which a plan must be better to count as better.
        saving: part of the present cost that a plan must save to count as cheaper.
        again: the same while the load is the one that the present plan was taken for.
        margin: what a switch must earn beyond its charge, as a part of that.
    """

    attainment: float
    slack: float = 0.0
    points: float = 0.005
    saving: float = 0.03
    again: float = 0.03
    margin: float = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether to go, why, and what it would take.

    Attributes:
        needs: seconds that the load would have to last for the other plan to pay; infinite where that would not do.
    """

    goes: bool
    reason: Reason
    needs: float = float("inf")


def judge(now: Standing, other: Standing, *, charge: float, dwell: float, terms: Terms) -> Verdict:
    """Say whether to go over to another plan.

    Args:
        now: the present plan.
        other: the candidate.
        charge: dollars that the way there costs.
        dwell: seconds that the load is expected to last.
        terms: the rest.

    Example: at $1 and $0.8 a second, a charge of $30 and a margin of a half, the other plan pays after 225 s.
    """
    meets, met = other.hit_rate >= terms.attainment, now.hit_rate >= terms.attainment - terms.slack
    if met:
        return _cheaper(now, other, charge, dwell, terms) if meets else Verdict(False, Reason.BEST)
    gain = other.hit_rate - now.hit_rate
    if meets:
        return Verdict(True, Reason.MEETS, 0.0)
    if gain > max(terms.points, terms.slack):
        return Verdict(True, Reason.HITS, 0.0)
    return Verdict(False, Reason.MARGIN if gain > 0 else Reason.BEST)


def _cheaper(now: Standing, other: Standing, charge: float, dwell: float, terms: Terms) -> Verdict:
    """Say whether to go over to a plan that meets the objective as the present one does."""
    saved = now.cost - other.cost
    if saved <= 0:
        return Verdict(False, Reason.BEST)
    if saved < terms.saving * now.cost:
        return Verdict(False, Reason.MARGIN)
    needs = charge * (1 + terms.margin) / saved
    return Verdict(needs <= dwell, Reason.CHEAPER if needs <= dwell else Reason.CHARGE, needs)


def expected_dwell(lasted: Sequence[float], running: float) -> float:
    """Return the seconds that the present load is expected to last on.

    The mean of what loads have lasted, a prior and the present one's time so far among them, as for exponential times
    of which the last has not ended (total time over ends). Lasting is taken to have no memory.

    Args:
        lasted: seconds that each of the last loads lasted.
        running: seconds since the load changed last.
    """
    return (PRIOR_DWELL * PRIOR_WEIGHT + sum(lasted) + running) / (PRIOR_WEIGHT + len(lasted))
