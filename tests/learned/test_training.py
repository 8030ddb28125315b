"""What the learned predictor is trained by: the same draws for a seed, a model that survives its shortening."""

import lightgbm
import numpy as np
import pytest
from benchmarks.learned.draw import TRAINED, UNSEEN, capacity, drawn
from benchmarks.learned.runs import DRIFT, believed
from benchmarks.learned.train import PARAMS, calibration, pooled, stripped

from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_reader import Reader


@pytest.mark.parametrize("number", range(len(TRAINED)))
def test_a_draw_is_the_same_for_a_seed_and_has_finite_features(number):
    one, other = drawn(1, number), drawn(1, number)

    assert one.shape == TRAINED[number]
    assert one.load.at.tolist() == other.load.at.tolist()
    assert features(one) == features(other)
    assert np.isfinite(features(one)).all()


def test_what_is_believed_of_a_plan_is_near_the_truth_and_not_the_truth():
    one = drawn(1, 0)
    held = believed(one.model, np.random.default_rng(2))

    for true, told in zip(one.model.stations, held.stations, strict=True):
        for work, other in zip(true.works, told.works, strict=True):
            ratio = other.seconds[1:] / work.seconds[1:]
            assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]))
            assert 0.0 < abs(ratio[0, 0] - 1.0) <= DRIFT


def test_no_shape_that_is_judged_by_is_trained_on():
    assert not set(TRAINED) & set(UNSEEN)


def test_what_is_drawn_can_be_served_at_some_rate():
    rates = [capacity(one.model, one.load.widths) for one in (drawn(2, number) for number in range(14))]

    assert all(0.0 < rate < float("inf") for rate in rates)


def test_a_shortened_model_says_the_same():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, len(NAMES)))
    label = 1.0 / (1.0 + np.exp(-rows[:, 0] + rows[:, 1]))
    data = lightgbm.Dataset(rows, label, feature_name=list(NAMES))
    whole = lightgbm.train({**PARAMS, "num_leaves": 8, "seed": 1}, data, 5)

    text = stripped(whole.model_to_string())
    short = lightgbm.Booster(model_str=text)

    assert len(text) < 0.6 * len(whole.model_to_string())
    assert short.predict(rows) == pytest.approx(whole.predict(rows), abs=1e-5)


def test_neighbours_that_fall_are_put_together():
    assert pooled([0.1, 0.4, 0.2, 0.9], [1, 1, 3, 1]).tolist() == pytest.approx([0.1, 0.25, 0.25, 0.9])


def test_a_calibration_undoes_a_bias():
    rng = np.random.default_rng(4)
    truth = rng.uniform(size=5000)

    told, came = calibration(truth**2, truth)

    assert np.interp(0.25, told, came) == pytest.approx(0.5, abs=0.03)


def features(one):
    return Reader(one.load).features(one.model).tolist()
