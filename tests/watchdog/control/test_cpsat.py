"""CP-SAT on P1: the optimum, within the deadline, of groups that can run."""

from itertools import product

import numpy as np
import pytest

from regrain_watchdog.policy.search.dag import Search, frontier
from regrain_watchdog.policy.search.partition import Dag, lattice, partitions
from regrain_watchdog.policy.search.table import Table, finishes, sources

cpsat = pytest.importorskip("regrain_watchdog.control.cpsat", reason="needs OR-tools: the `plan` extra")


def made(seed):
    rng = np.random.default_rng(seed)
    ways = lattice(Dag.made(list("abcd"), [0, 1, 1, 0b110]))
    cost = tuple(np.sort(rng.uniform(1, 9, 3)) * mask.bit_count() ** 0.8 for mask in ways.groups)
    ticks = tuple(
        np.sort(rng.choice(20, 3, replace=False) + 1)[::-1] * mask.bit_count() for mask in ways.groups
    )
    return Table(ways.groups, cost, ticks, tuple(np.arange(3) for _ in ways.groups)), ways


def cheapest(table, ways, deadline):
    number = {mask: place for place, mask in enumerate(table.masks)}
    found = []
    for masks in partitions(ways.dag):
        groups = [number[mask] for mask in masks]
        for configs in product(*(range(len(table.cost[group])) for group in groups)):
            chosen = list(zip(groups, configs, strict=True))
            ticks = [int(table.ticks[group][config]) for group, config in chosen]
            if max(finishes(sources(ways.dag, masks), ticks)) <= deadline:
                found.append(sum(float(table.cost[group][config]) for group, config in chosen))
    return min(found, default=None)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_what_brute_force_finds(seed):
    table, ways = made(seed)

    answer = cpsat.solve(table, ways, 45, seconds=30, workers=1)

    assert answer.design is not None
    assert answer.design.ticks <= 45
    assert answer.design.cost == pytest.approx(cheapest(table, ways, 45), rel=1e-5)
    assert answer.gap < 1e-4


def test_a_deadline_that_nothing_meets_has_no_design():
    table, ways = made(0)

    answer = cpsat.solve(table, ways, 2, seconds=30, workers=1)

    assert answer.design is None
    assert answer.bound == np.inf


def test_it_goes_on_where_bounds_leave_a_gap():
    table, ways = made(2)
    asked = []

    def finish(*question):
        asked.append(question[2])
        return cpsat.finisher(30.0)(*question)

    front = frontier(table, ways, [30, 45, 60], 1, finish)

    assert asked
    for deadline in asked:
        best = min(design.cost for design in front if design.ticks <= deadline)
        assert best == pytest.approx(cheapest(table, ways, deadline), rel=1e-5)


def test_it_may_begin_with_a_design():
    table, ways = made(1)
    ours = Search(table, ways).solve(45, 20)

    answer = cpsat.solve(table, ways, 45, seconds=30, workers=1, start=ours.design)

    assert answer.design is not None
    assert answer.design.cost <= ours.design.cost + 1e-9
