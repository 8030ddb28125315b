"""The cheapest plan that is expected to meet the objective, under a load.

P1 proposes, for each grain and quantile, plans from dear and fast to cheap and slow. Along each such front the
predictor finds the cheapest that meets the objective by halving; from the best of them it walks to better neighbours;
and where all plans can be counted, those that are cheaper still are shown to it, the most promising first. It is asked
about a bounded number of plans, and whenever that is spent the best plan so far is the answer.

Where nothing meets the objective the same way leads to the best hit rate, and P1 proposes plans for less of the load,
too; so it does where the node cannot bear all of it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace

from regrain.plan import Plan
from regrain_watchdog.policy.cost import Prices
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.predict.verified import Verified
from regrain_watchdog.policy.search import fluid
from regrain_watchdog.policy.search.dag import Finisher
from regrain_watchdog.policy.search.demand import Demand, calls
from regrain_watchdog.policy.search.descent import Descent
from regrain_watchdog.policy.search.exhaust import cheaper_plans
from regrain_watchdog.policy.search.fastest import check_objective
from regrain_watchdog.policy.search.judge import Judge
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.problem import Choice, NoPlanError, Problem
from regrain_watchdog.policy.search.proposals import Front, Proposer, Sketch, build, ways
from regrain_watchdog.policy.search.room import check_room, lacking
from regrain_watchdog.policy.search.verify import Verifier

STARTS = 3
"""Of the best plans of different grains, from which better ones are looked for."""
SCARCE = ((1.0, 1.0), (4.0, 1.0), (1.0, 4.0), (16.0, 1.0), (1.0, 16.0))
"""Times the prices of GPU and core at which plans are proposed, until one of them fits on the node."""
LESS = 0.8
"""Of a load that the node cannot bear, what plans are proposed for next."""
FURTHER = 5
"""Parts of a load, each LESS of the one before, from the first that some grain bears: what bears it may still miss the
objective by far, and a grain that bears less of it by less."""
LEAST = 1e-4
"""Of a load; a node that does not bear this much bears none."""
FIRST = 0.6
"""Of the nodes, those for the first search where a sure predictor has the last word, and leads to a second one."""
DESCENT_PART = 0.7
"""Of the nodes, those after which walks are left for what is looked through."""


class Planner:
    """Plans one app on one node. What does not change with the load is worked out once.

    finish: goes on with P1 on DAGs where our own search leaves a gap; None to be content with that.
    """

    def __init__(self, problem: Problem, finish: Finisher | None = None) -> None:
        self.problem = problem
        self._finish = finish
        self.space = Space(problem)
        self._calls = calls(self.space)
        self._ways = ways(self.space)

    def plan(
        self,
        load: Arrivals,
        predictor: Predictor,
        *,
        present: Plan | None = None,
        seed: int = 0,
        leads: Callable[[Plan], bool] | None = None,
    ) -> Choice:
        """Return the best plan that is found.

        Args:
            load: requests such as those that are to come.
            predictor: that judges; of two (Verified) the quick one leads and the sure one has the last word.
            present: a plan to begin with beside those that are proposed.
            seed: of the predictor's randomness.
            leads: whether a way leads to a plan; to all where nothing is said.

        Raises:
            NoPlanError: no plan fits on the node, or no request could be in time under any; says what it takes.
        """
        demand = Demand.of(load, self.space, self._calls[0])
        check_room(self.space)
        check_objective(self.space, self._calls, demand)
        sought, sure = (
            (predictor.quick, predictor.sure) if isinstance(predictor, Verified) else (predictor, None)
        )
        nodes = self.problem.limits.nodes
        most = nodes if sure is None else math.ceil(FIRST * nodes)
        judge = Judge(self.problem, sought, load, seed, most=most, leads=leads)
        if present is not None and self.space.holds(present):
            judge.judge(present)
        fronts = []
        for front in self._fronts(demand, judge):
            self._halve(front, judge)
            fronts.append(front)
        proposer = self._proposer(demand, self.problem.prices)
        self._improve(proposer, demand, judge)
        if sure is None:
            return self._answer(judge, nodes=judge.nodes, proven=self._look_through(proposer, judge))
        judge.most = nodes
        verifier = Verifier(self.problem, judge, sure, load, seed)
        verifier.choose(present)
        for front in fronts:
            self._halve(front, verifier)
        self._improve(proposer, demand, verifier)
        self._look_through(proposer, verifier)
        return self._answer(verifier, nodes=judge.nodes, proven=False)

    def _improve(self, proposer: Proposer, demand: Demand, judge: Judge) -> None:
        """Look for better plans near the best, of the same grains first, and for such with a pool.

        A walk that may leave its grain does so for the first plan that is better, and is gone before it has seen what
        lies near.
        """
        descent = Descent(proposer, judge)
        for recut in (False, True)[: 1 if self.problem.limits.grain else 2]:
            for sketch in self._starts(judge, proposer):
                if judge.nodes < DESCENT_PART * judge.most:
                    descent.walk(sketch, recut=recut)
        if self.problem.limits.fluid:
            fluid.search(self.space, self._calls, demand, proposer.level, judge)

    def _fronts(self, demand: Demand, judge: Judge) -> Iterator[Front]:
        """Yield P1's proposals that fit on the node: at the prices given, at others, then for less of the load.

        Once some fit, less of the load is proposed for only as long as nothing meets the objective.
        """
        part, further = 1.0, FURTHER
        while part > LEAST and further:
            asked = replace(demand, rate=demand.rate * part)
            for gpu, core in SCARCE:
                fronts = self._proposer(asked, self.problem.priced(gpu, core)).fronts()
                fitting = [some for front in fronts if (some := self._fitting(front, judge)).sketches]
                if fitting:
                    yield from fitting
                    further -= 1
                    break
            if further < FURTHER and judge.has_met:
                return
            part *= LESS
        if (
            further == FURTHER and judge.best is None
        ):  # where there is one, no way leads on from the plan in force
            raise NoPlanError(
                f"no plan of {self.problem.app.manifest.app} fits on the node: {lacking(self.space)}"
            )

    def _proposer(self, demand: Demand, prices: Prices) -> Proposer:
        return Proposer(self.space, self._ways, demand, self._calls, prices, finish=self._finish)

    def _fitting(self, front: Front, judge: Judge) -> Front:
        able = [
            (sketch, ticks)
            for sketch, ticks in zip(front.sketches, front.ticks, strict=True)
            if judge.place(build(self.space, sketch)) is not None
        ]
        return Front(tuple(sketch for sketch, _ in able), tuple(ticks for _, ticks in able))

    def _halve(self, front: Front, judge: Judge) -> None:
        """Find the cheapest plan of a front that meets the objective and is cheaper than the best so far."""
        plans = [build(self.space, sketch) for sketch in front.sketches]
        if judge.has_met and judge.best is not None:
            plans = plans[bisect_right(plans, -judge.best.cost, key=lambda plan: -judge.cost(plan)) :]
        if not plans:
            return
        first = judge.judge(plans[0])
        if first is None or not judge.meets(first):
            return
        low, high = 0, len(plans)
        while high - low > 1:
            middle = (low + high) // 2
            found = judge.judge(plans[middle])
            if found is None:
                return
            low, high = (middle, high) if judge.meets(found) else (low, middle)

    def _starts(self, judge: Judge, proposer: Proposer) -> Iterator[Sketch]:
        """Return the best plans that were judged, each of another grain, of the groups that P1 knows.

        It need not know those of the plan in force: where a grain is kept, or there are too many for all of them.
        """
        seen: set[str] = set()
        ranked = sorted(
            judge.considered,
            key=lambda one: (
                not judge.meets(one),
                one.cost if judge.meets(one) else -one.prediction.hit_rate,
            ),
        )
        for candidate in ranked:
            plan = candidate.plan
            if plan.grain in seen or not self.space.holds(plan):
                continue
            sketch = tuple(self.space.option(group) for group in plan.groups)
            if not all(mask in proposer.surrogate.number for mask, _ in sketch):
                continue
            seen.add(plan.grain)
            yield sketch
            if len(seen) >= STARTS:
                return

    def _look_through(self, proposer: Proposer, judge: Judge) -> bool:
        """Judge plans that would be better, of grains where they can be counted; return whether these were all."""
        below = judge.best.cost if judge.best is not None and judge.has_met else float("inf")
        found, are_all = cheaper_plans(proposer, below)
        for sketch in found:
            plan = build(self.space, sketch)
            if judge.place(plan) is None or (
                judge.has_met and judge.best and judge.cost(plan) >= judge.best.cost
            ):
                continue
            if judge.judge(plan) is None:
                return False
        return are_all

    def _answer(self, judge: Judge, *, nodes: int, proven: bool) -> Choice:
        best = judge.best
        if best is None:
            raise AssertionError("proposals fit on the node, and none was judged")
        return Choice(
            plan=best.plan,
            prediction=best.prediction,
            cost=best.cost,
            placement=judge.place(best.plan) or (),
            considered=judge.considered,
            proven=proven,
            nodes=nodes,
        )
