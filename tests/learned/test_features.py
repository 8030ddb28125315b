"""What the shipped model is told of plans and loads, and what it says of them, is what it was recorded to be.

`features.json` was written by the features in plain Python that the model was trained on.
"""

import json
from pathlib import Path

import pytest
from benchmarks.learned.draw import TRAINED, UNSEEN, drawn

from regrain_watchdog.control.learned import Learned

RECORDED = json.loads(Path(__file__).with_name("features.json").read_text())
SHAPES = {11: TRAINED, 12: UNSEEN}
"""By seed."""


@pytest.fixture(scope="module")
def learned():
    return Learned()


@pytest.mark.parametrize("row", RECORDED, ids=lambda row: f"{row['seed']}-{row['number']}")
def test_a_plan_is_told_and_judged_as_it_was_when_the_model_was_trained(row, learned):
    one = drawn(row["seed"], row["number"], SHAPES[row["seed"]])

    told = learned.reader(one.load).features(one.model).tolist()
    found = learned.predict(one.model, one.load)

    assert told == pytest.approx(row["features"], rel=1e-12, abs=0.0)
    assert [found.hit_rate, found.p50, found.p95, found.p99, *found.busy] == pytest.approx(
        row["prediction"], rel=1e-12, abs=0.0
    )


def test_stations_that_are_known_are_told_as_new_ones(learned):
    one = drawn(11, 1, TRAINED)
    reader = learned.reader(one.load)

    assert reader.features(one.model).tolist() == reader.features(one.model).tolist()
