from benchmarks import fluid
from benchmarks.cells.pipelines import write
from benchmarks.record import Results

from regrain_watchdog.cli.describe import describe


def test_a_run_that_is_complete_is_judged_alone(resume, recorded, bars):
    added = resume(fluid.main, recorded("fluid"))

    assert [line["kind"] for line in added] == ["machine", "bar", "bar"]
    assert len(bars(added)) == 2


def test_rounds_that_are_left_are_served_by_the_plans_of_those_that_there_are(recorded, tmp_path):
    write(fluid.PAGES, tmp_path)
    manifest = describe(str(tmp_path / "app.py"))
    results = Results(None)
    results.lines = recorded("fluid")

    plans = {name: fluid.served(results, name, manifest) for name in fluid.PLANS}

    for name, plan in plans.items():
        row = next(line for line in results.lines if line["kind"] == name)
        assert list(fluid._flags(plan)) == [row["grain"], row["replicas"], row["shares"]]
    assert fluid.served(Results(None), "grain", manifest) is None
