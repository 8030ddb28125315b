import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.deadline import Estimate, fill_remaining, remaining

seconds = st.floats(0.0001, 100.0)
samples = st.lists(seconds, min_size=1, max_size=50)


def learned(values: list[float]) -> Estimate:
    estimate = Estimate()
    for place, value in enumerate(values):
        estimate.learn(value, float(place))
    return estimate


def test_the_worked_example_holds():
    estimate = learned([0.1, 0.1, 0.3])

    assert (estimate.mean, estimate.deviation) == pytest.approx((0.125, 0.078125))
    assert estimate.safe == pytest.approx(0.28125)


def test_large_batches_do_not_make_small_ones_seem_long():
    estimate = Estimate()
    for place in range(200):
        units = 1 + place % 8
        estimate.learn(0.010 + 0.005 * (units - 1), float(place), units)

    assert estimate.alone == pytest.approx(0.010, rel=0.02)
    assert estimate.slope == pytest.approx(0.005, rel=0.02)
    assert estimate.deviation < 0.001


@given(st.lists(st.tuples(seconds, st.integers(1, 64)), min_size=1, max_size=50))
def test_a_unit_costs_something_alone_and_nothing_less_than_nothing_in_company(values):
    estimate = Estimate()
    for place, (value, units) in enumerate(values):
        estimate.learn(value, float(place), units)

    assert estimate.slope >= 0.0
    assert estimate.alone >= -1e-9 * max(value for value, _ in values)


@given(samples)
def test_an_estimate_lies_among_its_samples_and_is_safe_above_its_mean(values):
    estimate = learned(values)

    assert min(values) * 0.999999 <= estimate.mean <= max(values) * 1.000001
    assert estimate.safe >= estimate.mean


@given(seconds)
def test_what_is_always_the_same_is_known_exactly_in_the_end(value):
    estimate = learned([value] * 200)

    assert estimate.safe == pytest.approx(value, rel=1e-6)


@given(samples, st.floats(0.0, 1000.0), st.floats(0.0, 1000.0))
def test_an_estimate_is_believed_less_the_older_it_is(values, age, more):
    estimate = learned(values)

    assert 0.0 <= estimate.belief(estimate.seen + age + more) <= estimate.belief(estimate.seen + age) <= 1.0


def test_an_estimate_that_nothing_refreshes_is_forgotten():
    estimate = learned([60.0])

    assert estimate.belief(estimate.seen) == 1.0
    assert estimate.safe * estimate.belief(estimate.seen + 30.0) < 0.001


@st.composite
def flows(draw):
    count = draw(st.integers(1, 8))
    costs = draw(st.lists(st.floats(0.0, 10.0), min_size=count, max_size=count))
    after = [
        draw(st.sets(st.integers(place + 1, count - 1))) if place + 1 < count else set()
        for place in range(count)
    ]
    return costs, [tuple(sorted(steps)) for steps in after]


@given(flows())
def test_a_step_has_its_own_cost_and_the_longest_way_after_it(flow):
    costs, after = flow

    left = remaining(costs, after)

    for place, following in enumerate(after):
        assert left[place] >= costs[place]
        assert all(left[place] >= costs[place] + left[step] for step in following)
        assert left[place] == costs[place] + max((left[step] for step in following), default=0.0)


def test_the_longest_branch_counts():
    assert remaining((1, 2, 5), ((1, 2), (), ())) == [6, 2, 5]


def test_a_negative_number_stands_for_no_step():
    left = [0.0, 0.0, 0.0]

    fill_remaining(left, (1.0, 2.0, 5.0), ((1, 2), (-1, -1), (-1, -1)))

    assert left == [6.0, 2.0, 5.0]
