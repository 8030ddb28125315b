from benchmarks import overload

HEAD = {"kind": "machine", "benchmark": "overload", "seconds": 0.2, "seed": 1}


def row(app, turn, load, goodput, capacity=20.0):
    key = {"kind": "load", "round": turn, "app": app, "load": load, "capacity": capacity}
    return {**key, "goodput": goodput, "answered": 1.0, "p50": 1.0, "p99": 1.0, "refused": 0, "late": 0}


def test_a_round_that_was_cut_between_its_loads_is_finished_at_the_same_capacity(resume, bars):
    rows = [row(app, 0, load, 20.0) for app in overload.APPS for load in overload.LOADS]

    added = resume(overload.main, [HEAD, *rows[:-1]], "--seconds", "0.2", "--rounds", "1")

    loads = [line for line in added if line["kind"] == "load"]
    assert [(line["app"], line["load"], line["capacity"]) for line in loads] == [("chain", 3.0, 20.0)]
    assert len(bars(added)) == len(overload.APPS)


def test_rounds_that_were_finished_out_of_turn_are_compared_each_with_itself(resume, bars):
    rows = [
        row(app, turn, load, goodput)
        for app in overload.APPS
        for turn, load, goodput in ((0, 1.0, 10.0), (1, 1.0, 20.0), (1, 3.0, 40.0), (0, 3.0, 20.0))
    ]

    added = resume(overload.main, [HEAD, *rows], "--seconds", "0.2", "--rounds", "2")

    assert set(bars(added).values()) == {2.0}
    assert [line["kind"] for line in added] == ["machine", "bar", "bar", "bar"]
