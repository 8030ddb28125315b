"""P1's figures: costs are exact, latencies go the right way."""

from dataclasses import replace

import numpy as np
import pytest
from msgspec import structs

from regrain_watchdog.policy.cost import Prices, group_rate
from regrain_watchdog.policy.search.demand import Demand, burstiness, calls
from regrain_watchdog.policy.search.options import Space
from regrain_watchdog.policy.search.partition import lattice
from regrain_watchdog.policy.search.problem import STABLE, Limits, Problem
from regrain_watchdog.policy.search.surrogate import Surrogate


@pytest.fixture
def surrogate(make, machine, arriving):
    def build(rate=10, part=1.0, **limits):
        app = make(
            [[], [0], [1]], [0.01, 0.02, 0.01], [0.2, 0.4, 0.1], slo=0.3, gpu=[False, True, True], mapped=(2,)
        )
        node = machine()
        node = structs.replace(node, cards=tuple(replace(card, part=part) for card in node.cards))
        space = Space(Problem.of(app, node, limits=Limits(**limits)))
        tables = calls(space)
        demand = Demand.of(arriving(rate, lists=1), space, tables[0])
        return Surrogate(space, lattice(space.dag).groups, demand, tables, Prices())

    return build


@pytest.mark.parametrize("part", [1.0, 1 / 7], ids=["whole cards", "slices"])
def test_costs_are_those_of_the_plan(surrogate, part):
    made = surrogate(part=part)
    options = made.proposals()

    cost = made.cost(options)

    problem = made.space.problem
    for at in range(0, len(options), 7):
        mask, option = made.option(options, at)
        group = made.space.group(mask, option)
        assert cost[at] == pytest.approx(group_rate(group, problem.app.profile, problem.prices, problem.card))


def test_what_is_proposed_bears_the_load_and_counts_back(surrogate):
    made = surrogate(waits=(0.0, 0.02))
    options = made.proposals()

    again = made.flat([made.option(options, at) for at in range(len(options))])

    assert made.estimate(options).busy.max() <= STABLE
    for name in ("group", "level", "size", "wait", "replicas"):
        assert np.array_equal(getattr(options, name), getattr(again, name))


def test_more_replicas_or_a_larger_share_are_never_slower(surrogate):
    made = surrogate()
    options = made.proposals()
    latency = (
        {made.option(options, at): made.estimate(options).latency[:, at] for at in range(len(options))}
        if len(options) < 50
        else dict(
            zip(
                [made.option(options, at) for at in range(len(options))],
                made.estimate(options).latency.T,
                strict=True,
            )
        )
    )

    compared = 0
    for (mask, option), seconds in latency.items():
        for other, further in latency.items():
            same = (mask, option.max_size, option.max_wait) == (
                other[0],
                other[1].max_size,
                other[1].max_wait,
            )
            if (
                same
                and option.max_size == 1
                and other[1].replicas > option.replicas
                and other[1].level == option.level
            ):
                assert np.all(further <= seconds + 1e-9)
                compared += 1
    assert compared


def test_higher_quantiles_are_slower(surrogate):
    made = surrogate()
    latency = made.estimate(made.proposals()).latency

    assert np.all(np.diff(latency, axis=0) >= -1e-12)


def test_no_requests_ask_for_next_to_nothing(surrogate):
    made = surrogate(rate=0)

    assert made.estimate(made.proposals()).busy.max() < 1e-6


def test_bursts_show_in_counts(arriving):
    steady = arriving(50, seconds=100.0)
    bursty = steady.between(0, 100)
    at = np.where(bursty.at % 10 < 1, bursty.at, bursty.at - bursty.at % 10 + (bursty.at % 1))
    bursty = type(steady)(np.sort(at), bursty.size, bursty.widths, 100.0)

    assert burstiness(steady, 0.25) == pytest.approx(1.0, abs=0.6)
    assert burstiness(bursty, 0.25) > 5
