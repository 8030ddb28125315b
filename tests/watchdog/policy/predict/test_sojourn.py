import numpy as np
import pytest

from regrain_watchdog.policy.predict.sojourn import SOURCE, Grid, compose, dominators

GRID = Grid(0.01, 64)


def at(*places):
    chances = np.zeros(64)
    for place in places:
        chances[place] += 1 / len(places)
    return GRID.transform(chances)


def mass(waves):
    return {place: round(float(one), 6) for place, one in enumerate(GRID.chances(waves)) if one > 1e-9}


def test_a_diamond_is_dominated_by_where_it_parts():
    assert dominators(((), (0,), (0,), (1, 2))) == [SOURCE, 0, 0, 0]
    assert dominators(((), (), (0, 1))) == [SOURCE, SOURCE, SOURCE]
    assert dominators(((), (0,), (1,), (0,), (2, 3))) == [SOURCE, 0, 1, 0, 0]


def test_times_in_series_add_up():
    assert mass(compose(GRID, [at(2), at(3), at(5)], [(), (0,), (1,)], (2,))) == {10: 1.0}


def test_of_times_side_by_side_the_longest_counts():
    whole = compose(GRID, [at(2), at(3), at(5), at(1)], [(), (0,), (0,), (1, 2)], (3,))

    assert mass(whole) == {8: 1.0}


def test_independent_branches_have_the_product_of_their_distribution_functions():
    assert mass(compose(GRID, [at(1, 2), at(1, 2)], [(), ()], (0, 1))) == {1: 0.25, 2: 0.75}


def test_what_two_branches_have_in_common_is_not_taken_twice():
    whole = compose(GRID, [at(1, 9), at(2), at(2)], [(), (0,), (0,)], (1, 2))

    assert mass(whole) == {3: 0.5, 11: 0.5}


def test_a_shortcut_beside_a_longer_way_changes_nothing_if_it_is_shorter():
    assert mass(compose(GRID, [at(1), at(4), at(2)], [(), (0,), (0, 1)], (2,))) == {7: 1.0}


def test_a_shift_between_cells_keeps_mass_and_mean():
    moved = GRID.chances(at(4) * GRID.shift(np.array(0.0125)))

    assert moved.sum() == pytest.approx(1.0)
    assert moved @ np.arange(64) == pytest.approx(5.25)


def test_a_blur_keeps_the_mean_and_adds_its_variance():
    blurred = GRID.chances(at(30) * GRID.blur(np.array(0.03**2)))
    mean = blurred @ np.arange(64)

    assert mean == pytest.approx(30.0)
    assert blurred @ (np.arange(64) - mean) ** 2 == pytest.approx(9.0, rel=1e-3)
