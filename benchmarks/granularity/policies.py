"""The policies as plans for a steady load, each made of what may be known and nothing else.

`Mind` is what one pipeline's policies know: a problem with the profile, refined or not, and loads that were seen. It is
never handed a `World`, so that no policy can look at the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from benchmarks.granularity import esg, infless
from benchmarks.granularity.pipelines import Offer
from benchmarks.granularity.predictors import ANALYTIC, SIMULATED, VERIFIED, predictor
from benchmarks.granularity.sizing import staffed
from regrain.plan import Plan
from regrain_watchdog.policy.cost import rate
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.search.packing import pack
from regrain_watchdog.policy.search.partition import Dag, partitions
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Choice, Limits, NoPlanError, Problem

COARSE, FINE = "coarse", "fine"
MANY = 40
"""Grains up to which every one is frozen once; of more, those of one and two groups and the finest."""
CONVERGED = 2
"""Times that the product's own planner of any grain is asked at most, with its plan so far as the present one."""
REPLAYED = 100
"""Plans that are judged at most where each is replayed."""


@dataclass(frozen=True, slots=True)
class Made:
    """A plan that a policy made, and the hit rate that it expected; no plan where there is none, and why."""

    plan: Plan | None
    expected: float = 0.0
    why: str = ""
    considered: tuple[Plan, ...] = ()


class Mind:
    """Makes plans for one app on one node at one objective."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.problem = Problem.of(offer.app, offer.node, offer.prices, offer.limits)
        self._dag = Dag.of(offer.app.graph)
        self._planners: dict[Limits, Planner] = {}

    def grains(self) -> tuple[str, ...]:
        """Return the grains that are frozen, as notation: coarse first, fine second."""
        coarse = "+".join(self._dag.stages)
        fine = " | ".join(self._dag.stages)
        few = list(islice(partitions(self._dag), MANY + 1))
        if len(few) > MANY:
            few = [masks for masks in islice(partitions(self._dag), 100_000) if len(masks) <= 2]
        others = [self._notation(masks) for masks in few]
        return tuple(dict.fromkeys((coarse, fine, *(one for one in others if one != fine))))

    def planned(self, load: Arrivals, *, grain: str = "", fluid: bool = False, by: str = VERIFIED) -> Made:
        """Return the planner's plan for a load, its grain frozen or not, asked until it stays."""
        planner = self._planner(grain, fluid=fluid, by=by)
        present: Plan | None = None
        choice: Choice | None = None
        considered: dict[Plan, None] = {}
        try:
            for _ in range(CONVERGED if by == VERIFIED and not grain else 1):
                choice = planner.plan(load, predictor(by), present=present)
                attainment = self.offer.app.slo.attainment
                considered |= {
                    one.plan: None for one in choice.considered if one.prediction.hit_rate >= attainment - 0.1
                }
                if choice.plan == present:
                    break
                present = choice.plan
        except NoPlanError as error:
            return Made(None, why=str(error))
        except (
            ArithmeticError,
            AssertionError,
            LookupError,
            ValueError,
        ) as error:  # a cell is not lost with a policy
            return Made(None, why=f"the planner failed: {type(error).__name__}: {error}")
        if choice is None:
            return Made(None, why="the planner was not asked")
        return Made(choice.plan, choice.prediction.hit_rate, considered=tuple(considered))

    def scaled(self, load: Arrivals, static: Plan | None) -> Made:
        """Return a static plan with as many replicas as the load needs."""
        if static is None:
            return Made(None, why="there is no static plan")
        found = staffed(self.offer, static, self.problem.times, load, predictor(ANALYTIC))
        return Made(None, why="it does not fit") if found is None else Made(found[0], found[1].hit_rate)

    def infless(self, load: Arrivals) -> Made:
        """Return the INFless-like plan."""
        found = infless.plan(self.offer, self.problem.times, load)
        return Made(None, why="it does not fit") if found is None else Made(found, self.expected(found, load))

    def esg(self, load: Arrivals) -> Made:
        """Return the ESG-like plan."""
        found = esg.plan(self.offer, self.problem.times, load, predictor(ANALYTIC))
        if found is None:
            return Made(None, why="no path of configurations is within the objective, or none fits")
        return Made(found[0], found[1].hit_rate)

    def expected(self, plan: Plan, load: Arrivals, by: str = ANALYTIC) -> float:
        """Return the hit rate that a predictor expects."""
        model = make_model(self.offer.app, plan, self.problem.times)
        return predictor(by).predict(model, load).hit_rate

    def cost(self, plan: Plan) -> float:
        """Return dollars a second."""
        return rate(plan, self.offer.app.profile, self.offer.prices, self.offer.node.cards[0])

    def fits(self, plan: Plan) -> bool:
        """Whether a plan fits on the node."""
        return pack(plan, self.offer.app.profile, self.offer.node) is not None

    def _planner(self, grain: str, *, fluid: bool, by: str) -> Planner:
        nodes = REPLAYED if by == SIMULATED else self.offer.limits.nodes
        limits = replace(self.offer.limits, grain=grain, fluid=fluid, nodes=nodes)
        if limits not in self._planners:
            self._planners[limits] = Planner(replace(self.problem, limits=limits))
        return self._planners[limits]

    def _notation(self, masks: Iterable[int]) -> str:
        return " | ".join("+".join(self._dag.names(mask)) for mask in masks)


@dataclass(frozen=True, slots=True)
class Setting:
    """A load at an objective, that a static plan is to bear for a part of the requests of a day."""

    mind: Mind
    load: Arrivals
    weight: float


def static(settings: Sequence[Setting], grain: str) -> Made:
    """Return the plan that is cheapest for a whole day: expected to meet the objective over all its requests.

    What is looked at are the plans for each setting, each held against all of them; if none meets it, the best hit
    rate. With no grain it is any.
    """
    plans: dict[Plan, None] = {}
    for setting in settings:
        made = setting.mind.planned(setting.load, grain=grain, by=ANALYTIC)
        if made.plan is not None:
            plans[made.plan] = None
    whole = sum(setting.weight for setting in settings)
    judged = [
        (sum(one.weight * one.mind.expected(plan, one.load) for one in settings) / whole, plan)
        for plan in plans
    ]
    if not judged:
        return Made(None, why="no plan fits")
    mind = settings[0].mind
    able = [(mind.cost(plan), -hits, plan) for hits, plan in judged if hits >= mind.offer.app.slo.attainment]
    if able:
        _, hits, plan = min(able, key=lambda one: one[:2])
        return Made(plan, -hits)
    hits, plan = max(judged, key=lambda one: (one[0], -mind.cost(one[1])))
    return Made(plan, hits, why="no plan meets the objective over the day")
