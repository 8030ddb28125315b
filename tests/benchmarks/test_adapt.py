from benchmarks.adapt import followed, step_bars
from benchmarks.record import Results

STEP = 1000.0


def test_a_change_is_in_force_with_the_last_of_its_plans():
    changes = {990.0: 991.0, 1001.0: 1001.5, 1001.6: 1004.0, 1004.1: 1006.0, 1020.0: 1021.0}

    found = followed(STEP, {989.0: 1.0, 1001.0: 2.0, 1020.0: 0.0}, changes)

    assert found == {"decided": 1.0, "in_force": 6.0, "loads": 5.0, "slowest": 2.0}


def test_a_change_that_failed_on_its_way_is_not_in_force():
    found = followed(STEP, {1001.0: 2.0}, {1001.0: 1001.5, 1001.6: None, 1002.0: 1003.0})

    assert found == {"decided": 1.0, "in_force": None, "loads": None, "slowest": 2.0}


def test_nothing_follows_where_nothing_was_decided():
    found = followed(STEP, {990.0: 2.0}, {990.0: 992.0})

    assert found == {"decided": None, "in_force": None, "loads": None, "slowest": None}


def test_the_bar_takes_off_the_slowest_load_and_not_what_the_change_took():
    results = Results(None)
    row = {"kind": "step", "decided": 1.0, "in_force": 31.0, "loads": 30.0, "failed": 0}

    step_bars(results, [{**row, "slowest": 2.0}])
    step_bars(results, [row])

    late = [one for one in results.lines if "beyond" in str(one["name"])]
    assert [one["value"] for one in late] == [29.0, 31.0]
    assert not any(one["met"] for one in late)
