import pytest
from benchmarks.granularity import cells, judge
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.pipelines import Setting, World
from benchmarks.granularity.policies import Made
from benchmarks.granularity.predictors import ANALYTIC
from benchmarks.granularity.settle import ROUNDS, Settling

PROTOCOL = protocols.read()


@pytest.fixture(scope="module")
def found():
    """The judge of a cell with a plan for each grain."""
    world = World(PROTOCOL, "faces", Setting.of(PROTOCOL))
    cell = cells.Cell(
        part="core", pipeline="faces", shares="free", cards=2, slo=1.5, load="light", arrivals="poisson"
    )
    return judge.Judge(world, cell, (1000,))


@pytest.fixture(scope="module")
def made(found):
    """A plan for each grain, the cheapest first."""
    mind = Settling(found).begun()
    plans = [mind.planned(found.calibration, grain=grain, by=ANALYTIC) for grain in mind.grains()]
    return sorted((one for one in plans if one.plan), key=lambda one: found.dollars(one.plan))


def test_a_policy_that_stays_with_its_plan_is_asked_twice(found, made):
    asked = []

    def ask(mind):
        asked.append(mind)
        return made[0]

    kept = Settling(found).settled(Settling(found).begun(), ask, ANALYTIC)

    assert kept.plan == made[0].plan
    assert len(asked) == 2


def test_what_is_expected_of_a_plan_is_what_its_own_calls_say(found, made):
    settling = Settling(found)

    kept = settling.settled(settling.begun(), lambda mind: made[0], ANALYTIC)

    own = settling.after(made[0].plan)
    assert kept.expected == own.expected(made[0].plan, found.calibration)


def test_of_the_plans_that_it_had_a_policy_keeps_the_best_by_their_own_calls(found, made):
    settling = Settling(found)
    turns = iter(made * ROUNDS)

    kept = settling.settled(settling.begun(), lambda mind: next(turns), ANALYTIC)

    tried = list(dict.fromkeys(one.plan for one in made))[:ROUNDS]
    expected = {plan: settling.after(plan).expected(plan, found.calibration) for plan in tried}
    able = [plan for plan in tried if expected[plan] >= PROTOCOL.slo.attainment]
    best = min(able, key=found.dollars) if able else max(tried, key=expected.__getitem__)
    assert kept.plan == best
    assert kept.expected == expected[best]


def test_a_policy_without_a_plan_says_why(found):
    kept = Settling(found).settled(
        Settling(found).begun(), lambda mind: Made(None, why="none fits"), ANALYTIC
    )

    assert kept.plan is None
    assert kept.why == "none fits"
