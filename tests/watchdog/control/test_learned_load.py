"""A load as the learned predictor sees it: what simple servers would refuse of it."""

import numpy as np
import pytest

from regrain_watchdog.control.learned_load import CAPACITIES, CLASSES, PATIENCES, refusals, refused, seen
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.predict.traffic import traffic


def look(at, widths=None):
    at = np.asarray(at, dtype=float)
    found = np.zeros((len(at), 0), np.int32) if widths is None else np.asarray(widths, np.int32)
    load = Arrivals(at, np.zeros(len(at)), found, float(at[-1]))
    return seen(load, traffic(load))


def test_what_finds_more_work_than_it_is_patient_for_is_refused():
    at = np.array([0.0, 0.1, 0.2, 5.0])

    refused = refusals(at, np.ones(4), np.array([1.0]), np.array([0.5, 2.0]))

    assert refused.tolist() == [[0.5, 0.0]]  # 0.9 s of work at 0.1 s and 0.8 s at 0.2 s


@pytest.mark.parametrize("scope", [-1, 0])
def test_more_capacity_and_more_patience_never_refuse_more(scope):
    rng = np.random.default_rng(1)
    at = np.cumsum(rng.exponential(0.01, 1000))

    lost = look(at, rng.integers(1, 9, (1000, 1))).lost[scope]

    assert lost.shape == (len(CAPACITIES), len(PATIENCES))
    assert (np.diff(lost, axis=0) <= 1e-12).all()
    assert lost[0].max() > 0.8
    assert lost[-1].max() < 0.5


def test_between_the_points_of_the_table_it_is_linear_and_beyond_as_at_its_edge():
    found = look(np.arange(1, 401) / 100.0)

    inside = refused(found, -1, CAPACITIES[3] * found.rate, PATIENCES[4])

    assert inside == pytest.approx(found.lost[-1][3][4])
    assert refused(found, -1, 1e-9, 0.0) == pytest.approx(found.lost[-1][0][0], abs=0.01)
    assert refused(found, -1, 1e9, 1e9) == pytest.approx(found.lost[-1][-1][-1], abs=0.01)


def test_classes_are_weighed_by_their_requests():
    widths = np.concatenate([np.full(300, 1), np.full(100, 9)])[:, None]

    found = look(np.arange(1, 401) / 100.0, widths)

    assert sum(found.weights) == pytest.approx(1.0)
    assert len(found.levels) == CLASSES
    assert found.widths[0][-1] == pytest.approx(3.0)
    assert set(found.widths[-1]) == {1.0}
