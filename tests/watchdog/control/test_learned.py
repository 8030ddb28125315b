"""The learned predictor: what it refuses, when it asks another, and that trees and card belong together."""

import itertools
import math

import msgspec
import numpy as np
import pytest

from regrain.errors import SpecError
from regrain_watchdog.control.learned import CARD, Learned, LearnedModelError, read_card
from regrain_watchdog.control.learned_features import FALLING, NAMES, RISING
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, Pool, Station, Work
from regrain_watchdog.policy.predict.analytic import Analytic

RUN = 0.02


@pytest.fixture(scope="module")
def learned():
    return Learned()


def plan(*, servers=1, max_size=1, slo=0.1, scope=PER_REQUEST, lists=0, run=RUN):
    seconds = np.array([[0.0], *([run * (1 + 0.3 * more)] for more in range(max_size))])
    station = Station(
        stages=("work",),
        after=(),
        scope=scope,
        works=(Work(stage=0, scope=scope, seconds=seconds, cv=0.05),),
        max_size=max_size,
        max_wait=0.0,
        pool=0,
        take=1.0,
        hop=0.0002,
    )
    return Model(
        stations=(station,),
        pools=(Pool(servers=servers, cards=(float(servers),)),),
        sizes=np.zeros(1),
        lists=lists,
        slo=slo,
        attainment=0.95,
        answer=0.0002,
    )


def load(rate, *, count=2000, widths=None, seed=0):
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(1 / rate, count))
    found = np.zeros((count, 0), np.int32) if widths is None else widths
    return Arrivals(at, np.zeros(count), found, float(at[-1]))


def test_more_load_is_never_notably_better(learned):
    rates = [learned.predict(plan(), load(rate)).hit_rate for rate in (5.0, 20.0, 35.0, 45.0, 80.0)]

    assert all(more <= less + 0.03 for less, more in itertools.pairwise(rates))
    assert rates[0] > 0.97
    assert rates[-1] < 0.75


def test_a_plan_unlike_all_in_training_is_left_to_the_analytic_predictor():
    learned, odd, seen = Learned(), plan(run=50.0, slo=0.001), load(20.0)

    found = learned.predict(odd, seen)

    assert learned.strange == 1
    assert found == Analytic().predict(odd, seen)


def test_a_usual_plan_is_not_left_to_another():
    learned = Learned()

    learned.predict(plan(servers=2), load(60.0))

    assert learned.strange == 0


def test_a_plan_of_other_lists_than_the_requests_is_refused(learned):
    with pytest.raises(SpecError, match="maps over 1 lists, and requests have widths of 0"):
        learned.predict(plan(scope=0, lists=1), load(10.0))


def test_requests_without_items_can_be_predicted(learned):
    nothing = np.zeros((500, 1), np.int32)

    found = learned.predict(plan(scope=0, lists=1), load(10.0, count=500, widths=nothing))

    assert 0.0 <= found.hit_rate <= 1.0
    assert math.isfinite(found.p99)


def test_one_request_can_be_predicted(learned):
    assert 0.0 <= learned.predict(plan(), load(10.0, count=1)).hit_rate <= 1.0


def test_all_requests_at_once_can_be_predicted(learned):
    together = Arrivals(np.zeros(300), np.zeros(300), np.zeros((300, 0), np.int32), 1.0)

    assert learned.predict(plan(), together).hit_rate < 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"version": 0}, "version 0", id="another version"),
        pytest.param({"features": NAMES[1:]}, f"with {len(NAMES) - 1} features", id="other features"),
    ],
)
def test_a_model_for_other_features_is_refused(learned, change, told):
    card = msgspec.json.encode(msgspec.structs.replace(learned.card, **change))

    with pytest.raises(LearnedModelError, match=told):
        read_card(card)


@pytest.mark.parametrize("data", [b"{}", b'{"version": "\xff"}'])
def test_what_is_no_card_is_refused(data):
    with pytest.raises(LearnedModelError, match="no card"):
        read_card(data)


def test_what_is_no_model_is_refused():
    with pytest.raises(LearnedModelError, match="no model of LightGBM"):
        Learned(text="tree\nnothing\n")


def test_the_shipped_model_is_small_and_says_where_it_is_from(learned):
    from importlib import resources

    folder = resources.files("regrain_watchdog.control")
    whole = sum(len(folder.joinpath(name).read_bytes()) for name in (CARD, "learned_model.txt"))

    assert whole < 500_000
    assert learned.card.runs > 10_000
    assert learned.card.requests > 1_000_000
    assert learned.card.errors


def test_the_calibration_rises_from_none_to_all(learned):
    told, came = np.array(learned.card.told), np.array(learned.card.came)

    assert (np.diff(told) > 0).all()
    assert (np.diff(came) >= 0).all()
    assert (told[0], came[0], told[-1], came[-1]) == (0.0, 0.0, 1.0, 1.0)


def test_what_only_rises_or_falls_is_among_the_features():
    assert set(NAMES) >= RISING | FALLING
    assert not RISING & FALLING
    assert len(set(NAMES)) == len(NAMES)
