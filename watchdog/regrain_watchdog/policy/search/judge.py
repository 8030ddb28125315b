"""P2: what a plan is worth, as the predictor has it; each plan is asked about once, and only if it fits on the node."""

from __future__ import annotations

from collections.abc import Callable

from regrain.plan import Plan
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Maker
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.search.packing import Placement, pack_together
from regrain_watchdog.policy.search.problem import Candidate, Problem


class Judge:
    """Judges plans until its nodes are spent, and remembers the best.

    Attributes:
        most: plans that the predictor may be asked about; as many as the problem says, where nothing is said.
        leads: whether a plan may be asked for, for other reasons than that it fits.
        best: of those that it was asked about.
    """

    def __init__(
        self,
        problem: Problem,
        predictor: Predictor,
        load: Arrivals,
        seed: int,
        *,
        most: int = 0,
        leads: Callable[[Plan], bool] | None = None,
    ) -> None:
        self.most = most or problem.limits.nodes
        self._leads = leads
        self._problem, self._predictor, self._load, self._seed = problem, predictor, load, seed
        self._maker = Maker(problem.app, problem.times)
        self._known: dict[Plan, Candidate] = {}
        self._placed: dict[Plan, Placement | None] = {}
        self.best: Candidate | None = None

    @property
    def nodes(self) -> int:
        """Plans that the predictor was asked about."""
        return len(self._known)

    @property
    def is_spent(self) -> bool:
        """Whether no more may be asked."""
        return self.nodes >= self.most

    @property
    def considered(self) -> tuple[Candidate, ...]:
        """All that were judged, in order."""
        return tuple(self._known.values())

    @property
    def has_met(self) -> bool:
        """Whether a plan was found that meets the objective."""
        return self.best is not None and self.meets(self.best)

    def known(self, plan: Plan) -> Candidate | None:
        """Return what was said of a plan; None where nobody asked."""
        return self._known.get(plan)

    def cost(self, plan: Plan) -> float:
        """Return the dollars a second of a plan."""
        return self._problem.cost(plan)

    def place(self, plan: Plan) -> Placement | None:
        """Return where its replicas go; None where they do not fit, or it may not be asked for."""
        if plan not in self._placed:
            own = (plan, self._problem.app.profile)
            found = pack_together([own, *self._problem.beside], self._problem.node)
            may = found is not None and (self._leads is None or self._leads(plan))
            self._placed[plan] = found[: len(plan.groups)] if found is not None and may else None
        return self._placed[plan]

    def meets(self, candidate: Candidate) -> bool:
        """Whether a plan is expected to meet the objective."""
        return candidate.prediction.hit_rate >= self._problem.app.slo.attainment

    def judge(self, plan: Plan) -> Candidate | None:
        """Return what is expected of a plan; None where it does not fit, or nothing more may be asked."""
        if plan in self._known:
            return self._known[plan]
        if self.is_spent or self.place(plan) is None:
            return None
        prediction = self._predictor.predict(self._maker.make(plan), self._load, seed=self._seed)
        candidate = Candidate(plan=plan, prediction=prediction, cost=self.cost(plan))
        self._known[plan] = candidate
        if self.is_better(candidate, self.best):
            self.best = candidate
        return candidate

    def is_better(self, one: Candidate, other: Candidate | None) -> bool:
        """Whether a plan is better than another: cheaper if both meet the objective, else of the higher hit rate."""
        if other is None or self.meets(one) != self.meets(other):
            return other is None or self.meets(one)
        if self.meets(one):
            return (one.cost, -one.prediction.hit_rate) < (other.cost, -other.prediction.hit_rate)
        return (-one.prediction.hit_rate, one.cost) < (-other.prediction.hit_rate, other.cost)
