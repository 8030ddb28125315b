"""Trees as arrays say what LightGBM says."""

import lightgbm
import numpy as np
import pytest

from regrain_watchdog.control.learned_trees import planted, score


@pytest.mark.parametrize("leaves", [2, 31])
def test_trees_say_what_lightgbm_says(leaves):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(500, 4))
    label = 1.0 / (1.0 + np.exp(-rows[:, 0] * rows[:, 1]))
    params = {"objective": "cross_entropy", "num_leaves": leaves, "verbosity": -1, "num_threads": 1}
    grown = lightgbm.train(params, lightgbm.Dataset(rows, label), 20)

    trees = planted(grown.model_to_string())

    found = [score(row, trees) for row in rows]
    assert found == pytest.approx(grown.predict(rows, raw_score=True), abs=1e-9)


def test_a_tree_may_be_a_single_leaf():
    trees = planted("\nTree=0\nnum_leaves=1\nleaf_value=0.25\n\nTree=1\nleaf_value=0.5\n")

    assert score(np.zeros(1), trees) == 0.75


@pytest.mark.parametrize("text", ["", "tree\nnothing\n"])
def test_a_text_without_trees_is_refused(text):
    with pytest.raises(ValueError, match="no tree"):
        planted(text)
