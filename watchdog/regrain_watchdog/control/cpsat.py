"""P1 by OR-tools' CP-SAT: what finishes the DAGs that bounds cannot, and what our own solvers are held against.

Each stage begins and ends at a tick. A literal for each group and configuration says that it is chosen; one of those
that hold a stage is. Stages of one group begin and end together, the end is as far from the begin as the configuration
takes, and a stage begins after those that it takes from have ended, unless it shares their group. That the ticks along
each path of stages are within the deadline follows from this; said apart it makes the relaxation tight.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from regrain_watchdog.policy.search.dag import Answer, Finisher, paths
from regrain_watchdog.policy.search.partition import Lattice, bits
from regrain_watchdog.policy.search.table import Design, Table, finishes, sources

SCALE = 1_000_000
"""Units of cost that the dearest configuration is; the solver counts in whole numbers."""


def solve(
    table: Table,
    ways: Lattice,
    deadline: int,
    *,
    seconds: float,
    workers: int = 8,
    start: Design | None = None,
) -> Answer:
    """Return the cheapest design within a deadline (ticks), as good as can be had in so many seconds, and the bound.

    Args:
        table: of the lattice's groups.
        ways: every group of it may be chosen, as long as they can run one after another.
        deadline: ticks of the longest path at most.
        seconds: of search.
        workers: threads; with less than 8 the solver leaves some of its ways to search out.
        start: a design to begin with.
    """
    problem = _Formulation(table, ways, deadline)
    if start is not None:
        problem.begin_with(start)
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = workers
    status = solver.status_name(solver.solve(problem.model))
    if status not in ("OPTIMAL", "FEASIBLE"):
        return Answer(None, float("inf") if status == "INFEASIBLE" else 0.0)
    chosen = {group: config for (group, config), literal in problem.literals.items() if solver.value(literal)}
    order = ways.dag.order([ways.groups[group] for group in chosen])
    if order is None:
        raise AssertionError("the solver chose groups that wait for each other, though each takes a tick")
    number = {mask: place for place, mask in enumerate(ways.groups)}
    groups = tuple(number[mask] for mask in order)
    configs = tuple(chosen[group] for group in groups)
    ticks = [int(table.ticks[group][config]) for group, config in zip(groups, configs, strict=True)]
    ends = finishes(sources(ways.dag, order), ticks)
    cost = float(sum(table.cost[group][config] for group, config in zip(groups, configs, strict=True)))
    design = Design(groups, configs, cost, max(ends))
    return Answer(design, min(cost, solver.best_objective_bound * problem.unit))


def finisher(seconds: float) -> Finisher:
    """Return a solver for the planner, that takes so many seconds for each design at most."""

    def finish(table: Table, ways: Lattice, deadline: int, start: Design) -> Answer:
        return solve(table, ways, deadline, seconds=seconds, start=start)

    return finish


class _Formulation:
    """The model, its literals by group and configuration, and what a unit of its objective is in dollars a second."""

    def __init__(self, table: Table, ways: Lattice, deadline: int) -> None:
        self.model = cp_model.CpModel()
        self.unit = max((float(costs[-1]) for costs in table.cost if len(costs)), default=1.0) / SCALE
        self.literals = {
            (group, config): self.model.new_bool_var(f"g{group}c{config}")
            for group, costs in enumerate(table.cost)
            for config in range(len(costs))
        }
        self._table, self._ways, self._deadline = table, ways, deadline
        self._together: dict[tuple[int, int], cp_model.IntVar] = {}
        stages = range(len(ways.dag.stages))
        self._begin = [self.model.new_int_var(0, deadline, f"begin{stage}") for stage in stages]
        self._end = [self.model.new_int_var(0, deadline, f"end{stage}") for stage in stages]
        for stage in stages:
            self._cover(stage)
        for later in stages:
            for earlier in range(later):
                self._order(earlier, later)
        for path in paths(ways.dag):
            self._bound(path)
        self.model.minimize(
            sum(
                round(float(table.cost[group][config]) / self.unit) * literal
                for (group, config), literal in self.literals.items()
            )
        )

    def begin_with(self, design: Design) -> None:
        """Hint at a design."""
        chosen = set(zip(design.groups, design.configs, strict=True))
        for key, literal in self.literals.items():
            self.model.add_hint(literal, int(key in chosen))
        masks = [self._ways.groups[group] for group in design.groups]
        taken = [
            int(self._table.ticks[key[0]][key[1]]) for key in zip(design.groups, design.configs, strict=True)
        ]
        ends = finishes(sources(self._ways.dag, masks), taken)
        for mask, end, ticks in zip(masks, ends, taken, strict=True):
            for stage in bits(mask):
                self.model.add_hint(self._begin[stage], end - ticks)
                self.model.add_hint(self._end[stage], end)
        for (earlier, later), together in self._together.items():
            both = 1 << earlier | 1 << later
            self.model.add_hint(together, int(any(mask & both == both for mask in masks)))

    def _bound(self, path: int) -> None:
        """Say that the groups on a path of stages are within the deadline."""
        self.model.add(
            sum(
                int(self._table.ticks[group][config]) * literal
                for (group, config), literal in self.literals.items()
                if self._ways.groups[group] & path
            )
            <= self._deadline
        )

    def _holding(self, *stages: int) -> list[tuple[int, int]]:
        """Return the groups and configurations that hold all of some stages."""
        wanted = sum(1 << stage for stage in set(stages))
        return [key for key in self.literals if self._ways.groups[key[0]] & wanted == wanted]

    def _cover(self, stage: int) -> None:
        holding = self._holding(stage)
        self.model.add_exactly_one([self.literals[key] for key in holding])
        taken = sum(
            int(self._table.ticks[group][config]) * self.literals[group, config] for group, config in holding
        )
        self.model.add(self._end[stage] == self._begin[stage] + taken)

    def _order(self, earlier: int, later: int) -> None:
        together = self.model.new_bool_var(f"together{earlier},{later}")
        holding = self._holding(earlier, later)
        self._together[earlier, later] = together
        self.model.add(sum(self.literals[key] for key in holding) == together)
        self.model.add(self._begin[later] == self._begin[earlier]).only_enforce_if(together)
        if earlier in bits(self._ways.dag.parents[later]):
            self.model.add(self._begin[later] >= self._end[earlier]).only_enforce_if(~together)
