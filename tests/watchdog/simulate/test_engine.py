import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from regrain.errors import SpecError
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Work
from regrain_watchdog.simulate.compiled import entry
from regrain_watchdog.simulate.engine import IN_TIME, LATE, SHED, Run


def arrivals(*at: float) -> Arrivals:
    return Arrivals(np.array(at), np.zeros(len(at)), np.zeros((len(at), 0), np.int32), at[-1] if at else 0.0)


def test_requests_are_served_one_after_the_other(plan):
    run = Run(plan(0.1), arrivals(0.0, 0.05, 0.3))

    run.advance()

    assert run.result().finish == pytest.approx([0.1, 0.2, 0.4])
    assert run.result().busy == pytest.approx((0.3,))
    assert run.result().events == {"arrivals": 3, "ready": 3, "dispatches": 3, "ends": 3, "due": 0}


@pytest.mark.parametrize(
    ("seconds", "ends"),
    [
        pytest.param(0.1, [0.11, 0.22], id="the next is sent when it is back"),
        pytest.param(0.0009, [0.0109, 0.0118], id="behind a short one the next waits at the replica"),
    ],
)
def test_a_hop_holds_the_server(seconds, ends, plan):
    model = plan(seconds)
    station = replace(model.stations[0], hop=0.01)
    run = Run(replace(model, stations=(station,)), arrivals(0.0, 0.0))

    run.advance()

    assert run.result().finish == pytest.approx(ends)


def test_a_batch_waits_for_others_and_takes_as_long_as_it_was_measured(plan):
    run = Run(plan(0.1, max_size=4, wait=0.02), arrivals(0.0, 0.01, 0.5))

    run.advance()

    assert run.result().finish == pytest.approx([0.12, 0.12, 0.62])


def test_units_that_come_back_together_go_on_together_though_servers_are_idle(plan):
    model = plan(0.1, max_size=4, wait=0.02)
    second = replace(model.stations[0], after=(0,), max_wait=0.0, pool=1)
    pools = (model.pools[0], replace(model.pools[0], servers=3, cards=(3.0,)))
    run = Run(replace(model, stations=(model.stations[0], second), pools=pools), arrivals(0.0, 0.0, 0.0, 0.0))

    run.advance()

    assert run.result().finish == pytest.approx([0.2] * 4)
    assert run.result().events["dispatches"] == 2


def test_at_light_load_a_batch_waits_no_longer_than_its_first_can(plan):
    at = np.arange(0.0, 100.0, 2.0)
    run = Run(plan(0.02, max_size=8, wait=0.2, slo=0.1), arrivals(*at))

    run.advance()

    assert run.result().hit_rate == 1.0
    assert run.result().events["due"] == len(at)


@pytest.mark.parametrize(("slo", "least"), [(0.012, 0.3), (0.03, 0.5), (0.045, 0.65)])
def test_batches_that_take_longer_than_the_objective_do_not_come_about(slo, least, plan):
    """A unit takes 7 ms and eight 44 ms; there come more than full batches could serve."""
    rows = np.array([[0.0], *[[0.0069 + 0.0053 * more] for more in range(8)]])
    model = plan(0.0, slo=slo, max_size=8)
    station = replace(model.stations[0], works=(Work(0, PER_REQUEST, rows, 0.1),))
    at = np.cumsum(np.random.default_rng(3).exponential(1.0 / 205.0, 4000))
    run = Run(replace(model, stations=(station,)), arrivals(*at))

    run.advance()

    assert run.result().hit_rate > least


def test_what_waits_for_company_while_a_server_is_free_keeps_nobody_out(plan):
    run = Run(plan(0.02, max_size=8, wait=0.05, slo=0.06), arrivals(0.0, 0.005))

    run.advance()

    assert (run.result().outcome == IN_TIME).all()
    assert run.result().events["dispatches"] == 1


def test_who_would_be_late_behind_others_is_refused(plan):
    run = Run(plan(0.1, slo=0.25), arrivals(0.0, 0.0, 0.0, 0.0, 0.0))

    run.advance()

    outcome = run.result().outcome
    assert (outcome[:2] == IN_TIME).all()
    assert (outcome == SHED).any()


def test_an_objective_out_of_reach_sheds_nobody_who_is_alone(plan):
    run = Run(plan(0.3, slo=0.2), arrivals(0.0, 1.0))

    run.advance()

    assert (run.result().outcome == LATE).all()


def test_a_run_goes_on_where_it_stopped_and_shows_who_has_arrived(plan):
    run = Run(plan(0.1), arrivals(0.0, 0.05, 0.3))

    run.advance(0.15)
    half = run.result()
    run.advance()

    assert run.now == pytest.approx(0.4)
    assert half.outcome.tolist() == [IN_TIME, 0]
    assert half.hit_rate == 0.5
    assert run.result(since=2).finish == pytest.approx([0.4])


def test_a_request_ends_under_the_plan_it_began_with(plan):
    run = Run(plan(0.2), arrivals(0.0, 0.05, 0.1, 0.11))

    run.change(plan(0.02, stage="other"), at=0.1)
    run.advance()

    assert run.result().finish == pytest.approx([0.2, 0.4, 0.12, 0.14])
    assert run.result().busy == pytest.approx((0.4, 0.04))


def test_servers_that_are_added_take_what_waits_and_those_that_go_end_what_they_hold(plan):
    run = Run(plan(0.2), arrivals(0.0, 0.01, 0.02, 0.5, 0.51, 0.8))

    run.change(plan(0.2, 3), at=0.05)
    run.change(plan(0.2, 1), at=0.55)
    run.advance()

    assert run.result().finish == pytest.approx([0.2, 0.25, 0.25, 0.7, 0.71, 1.0])
    assert len(run.result().busy) == 1


def test_the_calls_of_stages_are_told_once_each_with_the_plan_that_they_are_of(plan):
    run = Run(first := plan(0.2, max_size=2), arrivals(0.0, 0.05, 0.1, 0.4))
    run.change(second := plan(0.03, stage="other"), at=0.3)

    run.advance(0.15)
    early = run.worked()
    run.advance()
    late = run.worked()

    assert [(one.model, one.units, one.calls) for one in early] == [(first, 1, 1)]
    assert [(one.model, one.units, one.calls) for one in late] == [(first, 2, 1), (second, 1, 1)]
    assert sum(one.seconds for one in (*early, *late)) == pytest.approx(sum(run.result().busy))
    assert not run.worked()


def test_calls_of_unlike_batches_are_told_apart(plan):
    run = Run(plan(0.2, max_size=4), arrivals(0.0, 0.05, 0.1, 0.15, 1.0, 2.0, 2.01, 2.02))

    run.advance()

    assert [(one.units, one.calls) for one in run.worked()] == [(3, 3), (2, 1), (3, 1)]


def test_many_changes_leave_no_rows_behind(plan):
    run = Run(plan(0.01), arrivals(*np.arange(0.0, 20.0, 0.05)))

    for number in range(300):
        run.change(plan(0.01, 1 + number % 3, stage=f"stage{number % 5}"), at=0.06 * (number + 1))
    run.advance()

    assert run.result().hit_rate == 1.0
    assert len(run._state.stations) <= 3
    assert len(run._state.events) < 2000


def test_what_comes_later_changes_nothing_before(plan):
    rng = np.random.default_rng(2)
    at = np.cumsum(rng.exponential(0.01, 2000))
    sizes = rng.uniform(0, 1, 2000)
    one = Arrivals(at, sizes, np.zeros((2000, 0), np.int32), 30.0)
    other = Arrivals(np.where(at < 10, at, at + 3), np.where(at < 10, sizes, 9.0), one.widths, 40.0)
    runs = [Run(plan(0.009, slo=0.05), load, seed=4) for load in (one, other)]

    for run in runs:
        run.advance(10.0)

    mine, theirs = (run.result() for run in runs)
    assert np.array_equal(mine.outcome, theirs.outcome)
    assert np.array_equal(mine.finish, theirs.finish, equal_nan=True)


def test_plans_that_are_compared_see_the_same_luck(plan):
    works = tuple(Work(stage, PER_REQUEST, np.array([[0.0], [0.01]]), 0.3) for stage in range(2))
    fused = plan(0.01)
    fused = replace(fused, stations=(replace(fused.stations[0], works=works),))
    first = replace(fused.stations[0], works=works[:1])
    second = replace(fused.stations[0], stages=("later",), works=works[1:], after=(0,), pool=1)
    split = replace(fused, stations=(first, second), pools=fused.pools * 2)
    load = arrivals(*np.arange(0.0, 100.0, 1.0))

    runs = [Run(model, load, seed=3) for model in (fused, split)]
    for run in runs:
        run.advance()

    assert runs[0].result().latency == pytest.approx(runs[1].result().latency)


def test_requests_that_no_plan_can_take_are_refused(plan):
    load = arrivals(0.0, 1.0)

    with pytest.raises(SpecError, match="maps over 1 lists, and requests have widths of 0"):
        Run(replace(plan(0.1), lists=1), load)
    with pytest.raises(SpecError, match="in the order of their arrival"):
        Run(plan(0.1), arrivals(1.0, 0.5))
    run = Run(plan(0.1), load)
    run.advance(2.0)
    with pytest.raises(SpecError, match="from now on, 2 s, not at 1 s"):
        run.change(plan(0.2), at=1.0)


def test_nothing_arrives_and_nothing_happens(plan):
    run = Run(plan(0.1), arrivals())

    run.advance()

    assert run.result().hit_rate == 1.0


def test_what_cannot_be_kept_on_disk_is_compiled_all_the_same():
    names: dict[str, object] = {}
    exec("def twice(number): return 2 * number", names)

    assert entry(names["twice"])(4) == 8


def test_the_front_imports_no_compiler():
    code = "import sys, regrain_watchdog.front.service; print('numba' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
