"""P1 against brute force: exact on chains, close and bounded on DAGs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain_watchdog.policy.search import chain, dag
from regrain_watchdog.policy.search.partition import Dag, lattice, partitions
from regrain_watchdog.policy.search.table import Table, finishes, sources


@st.composite
def problems(draw, *, serial):
    count = draw(st.integers(1, 4))
    parents = [
        (1 << place - 1 if place else 0) if serial else draw(st.integers(0, (1 << place) - 1))
        for place in range(count)
    ]
    ways = lattice(Dag.made([f"s{place}" for place in range(count)], parents))
    cost, ticks = [], []
    for mask in ways.groups:
        many = draw(st.integers(0 if mask.bit_count() > 1 else 1, 3))  # large groups may never be in time
        costs = sorted(draw(st.lists(st.integers(1, 60), min_size=many, max_size=many, unique=True)))
        times = sorted(
            draw(st.lists(st.integers(1, 30), min_size=many, max_size=many, unique=True)), reverse=True
        )
        cost.append(np.array(costs, float))
        ticks.append(np.array(times, np.int64))
    table = Table(ways.groups, tuple(cost), tuple(ticks), tuple(np.arange(len(one)) for one in cost))
    return table, ways


def every_design(table, ways):
    """(cost, ticks) of all grains and configurations."""
    number = {mask: place for place, mask in enumerate(table.masks)}
    for masks in partitions(ways.dag):
        groups = [number[mask] for mask in masks]
        after = sources(ways.dag, masks)
        for configs in product(*(range(len(table.cost[group])) for group in groups)):
            ticks = [int(table.ticks[group][config]) for group, config in zip(groups, configs, strict=True)]
            cost = sum(
                float(table.cost[group][config]) for group, config in zip(groups, configs, strict=True)
            )
            yield cost, max(finishes(after, ticks))


def cheapest(table, ways, deadline):
    return min((cost for cost, ticks in every_design(table, ways) if ticks <= deadline), default=None)


@given(problems(serial=True), st.integers(1, 80))
def test_on_a_chain_every_deadline_has_its_cheapest_design(problem, deadline):
    table, ways = problem
    found = chain.frontier(table, ways, 80)

    best = min((design.cost for design in found if design.ticks <= deadline), default=None)
    assert (
        best == pytest.approx(cheapest(table, ways, deadline))
        if best
        else cheapest(table, ways, deadline) is None
    )
    assert [design.cost for design in found] == sorted((design.cost for design in found), reverse=True)


@settings(deadline=None)
@given(problems(serial=False), st.integers(1, 80))
def test_on_a_dag_the_bound_lies_below_the_optimum_and_the_design_above(problem, deadline):
    table, ways = problem
    answer = dag.Search(table, ways).solve(deadline, 40)

    best = cheapest(table, ways, deadline)
    if best is None:
        assert answer.design is None
        return
    assert answer.bound <= best + 1e-6
    if answer.design is not None:
        assert answer.design.ticks <= deadline
        assert answer.design.cost >= best - 1e-9


def test_on_dags_designs_are_rarely_off_the_optimum():
    rng = np.random.default_rng(3)
    off = []
    for _ in range(30):
        parents = [0, 1, 1, 0b110]
        ways = lattice(Dag.made(list("abcd"), parents))
        cost = tuple(np.sort(rng.uniform(1, 9, 3)) * mask.bit_count() for mask in ways.groups)
        ticks = tuple(
            np.sort(rng.choice(40, 3, replace=False) + 1)[::-1] * mask.bit_count() for mask in ways.groups
        )
        table = Table(ways.groups, cost, ticks, tuple(np.arange(3) for _ in ways.groups))
        deadline = int(rng.integers(30, 160))
        best = cheapest(table, ways, deadline)
        answer = dag.Search(table, ways).solve(deadline, 40)
        if best is not None:
            assert answer.design is not None
            off.append(answer.design.cost / best - 1)
    assert len(off) > 20
    assert np.mean(np.array(off) < 0.02) >= 0.9


def test_a_front_on_a_dag_falls_in_cost_as_it_gets_slower():
    ways = lattice(Dag.made(list("abcd"), [0, 1, 1, 0b110]))
    rng = np.random.default_rng(1)
    cost = tuple(np.sort(rng.uniform(1, 9, 4)) for _ in ways.groups)
    ticks = tuple(np.sort(rng.integers(1, 99, 4))[::-1] for _ in ways.groups)
    table = Table(ways.groups, cost, ticks, tuple(np.arange(4) for _ in ways.groups))

    found = dag.frontier(table, ways, [60, 100, 200], 15)

    assert len(found) > 1
    assert [design.ticks for design in found] == sorted(design.ticks for design in found)
    assert [design.cost for design in found] == sorted((design.cost for design in found), reverse=True)
