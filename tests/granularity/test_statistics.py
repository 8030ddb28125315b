import msgspec
import numpy as np
import pytest
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity import statistics

PROTOCOL = protocols.read()
CELL = ("core", "faces", "free", 2, 1.0, "light", "poisson", None, None)


def row(hits, cost):
    return {"hit_rate": list(hits), "cost": list(cost)}


def figures(hits, cost):
    return statistics.Figures.of(row(hits, cost))


def test_a_constant_difference_has_an_interval_of_no_width():
    rng = np.random.default_rng(1)
    hits = rng.uniform(0.5, 0.7, 20)

    found = statistics.compare(figures(hits + 0.1, [3.0] * 20), figures(hits, [4.0] * 20), PROTOCOL)

    assert found.points.value == pytest.approx(0.1)
    assert (found.points.low, found.points.high) == pytest.approx((0.1, 0.1))
    assert found.saving.low == pytest.approx(0.25)
    assert found.gain.value == pytest.approx((hits.mean() + 0.1) / hits.mean() - 1)


def test_hit_rates_are_capped_at_the_attainment():
    found = statistics.compare(figures([0.99] * 20, [1] * 20), figures([0.96] * 20, [1] * 20), PROTOCOL)

    assert found.points.value == 0.0
    assert found.points.low == 0.0


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    rng = np.random.default_rng(2)
    hits = 0.6 + rng.normal(0.0, 0.05, 400)

    found = statistics.compare(figures(hits, [1] * 400), figures([0.6] * 400, [1] * 400), PROTOCOL)

    assert found.points.high - found.points.low == pytest.approx(2 * 1.96 * 0.05 / 20, rel=0.15)


@pytest.mark.parametrize(
    ("hits", "cost", "higher", "cheaper"),
    [
        pytest.param(0.9, 1.0, True, False, id="half as many hits again at the same cost"),
        pytest.param(0.9, 1.01, False, False, id="at a higher cost"),
        pytest.param(0.6, 0.75, False, True, id="a quarter cheaper at the same hit rate"),
        pytest.param(0.59, 0.75, False, False, id="at a lower hit rate"),
        pytest.param(0.6, 0.76, False, False, id="not cheap enough"),
    ],
)
def test_bar_a_asks_for_one_without_giving_up_the_other(hits, cost, higher, cheaper):
    found = statistics.compare(figures([hits] * 20, [cost] * 20), figures([0.6] * 20, [1.0] * 20), PROTOCOL)

    assert statistics.beats_hits(found, PROTOCOL) is higher
    assert statistics.beats_cost(found, PROTOCOL) is cheaper


def test_the_best_grain_in_hindsight_is_the_cheapest_that_meets_the_objective():
    policies = {
        "replanned-coarse": row([0.96] * 3, [5] * 3),
        "replanned-fine": row([0.95] * 3, [4] * 3),
        "replanned-a | b+c": row([0.94] * 3, [3] * 3),
        "adaptive-analytic": row([0.99] * 3, [1] * 3),
        "replanned-none": {"infeasible": "too small"},
    }

    assert statistics.best_replanned(policies, 0.95) == "replanned-fine"
    assert statistics.best_replanned(policies, 0.97) == "replanned-coarse"  # none meets it
    assert statistics.best_replanned({}, 0.95) == ""


def test_bars_are_told_with_the_cells_in_which_they_hold():
    cells = {
        CELL: {
            "replanned-coarse": row([0.96] * 5, [10] * 5),
            "adaptive-analytic": row([0.96] * 5, [7] * 5),
            "adaptive-fluid": row([0.96] * 5, [8] * 5),
            "oracle-free": row([0.96] * 5, [6.5] * 5),
        },
        (*CELL[:4], 2.0, *CELL[5:]): {
            "replanned-coarse": row([0.96] * 5, [10] * 5),
            "adaptive-analytic": row([0.96] * 5, [10.9] * 5),
            "adaptive-fluid": row([0.96] * 5, [8] * 5),
            "oracle-free": row([0.96] * 5, [10] * 5),
        },
    }

    hits, cost = statistics.bar_a(cells, "adaptive-analytic", "replanned-coarse", PROTOCOL)
    kept = statistics.bar_b(cells, "adaptive-analytic", PROTOCOL)
    fluid = statistics.bar_b2(cells, PROTOCOL, ["faces"])
    regret = statistics.bar_c(cells, "adaptive-analytic", "oracle-free", PROTOCOL)

    assert (hits.holds, hits.cells) == (False, 0)
    assert (cost.holds, cost.cells, cost.of) == (True, 1, 2)
    assert (kept.holds, kept.cells) == (False, 1)
    assert fluid.holds
    assert (regret.holds, regret.cells) == (True, 2)


def test_days_are_compared_by_the_minute():
    offered = [100, 0, 300, 200]
    one = statistics.Figures.of({"offered": offered, "missed": [0, 0, 30, 0], "dollars": [1, 1, 1, 1]})
    other = statistics.Figures.of({"offered": offered, "missed": [50, 0, 30, 100], "dollars": [2, 2, 2, 2]})

    found = statistics.compare(one, other, replace_attainment(1.0))

    assert one.hit_rate == pytest.approx(570 / 600)
    assert found.saving.value == pytest.approx(0.5)
    assert found.points.value == pytest.approx(150 / 600)
    assert found.points.low < found.points.value < found.points.high


def replace_attainment(attainment):
    return msgspec.structs.replace(PROTOCOL, slo=msgspec.structs.replace(PROTOCOL.slo, attainment=attainment))
