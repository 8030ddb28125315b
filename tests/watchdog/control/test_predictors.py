"""Predictors by name, and one that is not ready at once."""

import pytest

from regrain_watchdog.control.learned import Learned
from regrain_watchdog.control.learned_load import refusals
from regrain_watchdog.control.learned_reader import read
from regrain_watchdog.control.learned_trees import judged
from regrain_watchdog.control.outlook import Expected
from regrain_watchdog.control.predictors import Readying, predictor
from regrain_watchdog.control.standings import FEW, Standings
from regrain_watchdog.policy.model import make_model
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.verified import Verified
from regrain_watchdog.policy.switch import Terms
from regrain_watchdog.simulate.scenario import PREDICTORS

pytestmark = pytest.mark.timeout(360)  # what compiles may take minutes on a busy machine


class Counting:
    """The analytic predictor, and how many plans it was asked about."""

    name = "counting"

    def __init__(self):
        self.asked = 0
        self._analytic = Analytic()

    def predict(self, model, load, *, seed=0):
        self.asked += 1
        return self._analytic.predict(model, load, seed=seed)


@pytest.mark.parametrize("name", PREDICTORS)
def test_each_predictor_is_had_by_its_name(name):
    assert predictor(name).name == name


@pytest.mark.parametrize("name", ["verified", "simulated", "learned"])
def test_queueing_theory_decides_until_the_one_that_is_wanted_is_ready_and_that_is_seen(name):
    readying = Readying(name)
    assert readying.pair.name == "analytic"

    readying._ready.result(300.0)

    assert readying.pair.name == "analytic"
    assert readying.settle()
    assert readying.pair.name == name


def test_what_the_learned_one_compiles_is_compiled_when_it_is_had(arriving, problem, planned):
    predictor("learned")
    before = [compiled.nopython_signatures for compiled in (refusals, read, judged)]
    asked, plan = problem(), planned(20.0)

    Learned().predict(make_model(asked.app, plan, asked.times), arriving((20.0, 60.0)))

    assert all(before)
    assert [compiled.nopython_signatures for compiled in (refusals, read, judged)] == before


def test_plans_are_sought_anew_once_they_can_be_verified(problem, planned, arriving):
    pair, sure = Verified(Counting()), Counting()
    standings = Standings(problem(), pair, Terms(attainment=0.95), risk=20.0, seed=0)
    expected = Expected(load=arriving((20.0, 60.0)), rate=20.0, peak=20.0, dwell=600.0)

    def look(now):
        standings.look(expected, planned(20.0), living=(), now=now, anew=False)

    look(10.0)
    sought = pair.quick.asked
    look(20.0)
    assert pair.quick.asked - sought <= FEW + 1
    pair.sure = sure
    look(30.0)
    assert pair.quick.asked - sought > FEW + 1
    judged = sure.asked
    assert judged > 0
    look(40.0)
    assert 0 < sure.asked - judged <= FEW + 1
