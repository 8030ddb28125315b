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

    kept = settling.settled(settling.begun(), lambda mind: made[-1], ANALYTIC)

    own = settling.after(made[-1].plan).expected(made[-1].plan, found.calibration)
    assert kept.expected == pytest.approx(own, abs=0.02)


def test_of_the_plans_that_it_had_a_policy_keeps_the_best_by_all_that_it_saw(found, made):
    settling = Settling(found)
    turns = iter(made * ROUNDS)
    minds = []

    def ask(mind):
        minds.append(mind)
        return next(turns)

    kept = settling.settled(settling.begun(), ask, ANALYTIC)

    tried = list(dict.fromkeys(one.plan for one in made))[:ROUNDS]
    expected = {plan: minds[-1].expected(plan, found.calibration) for plan in tried}
    able = [plan for plan in tried if expected[plan] >= PROTOCOL.slo.attainment]
    best = min(able, key=found.dollars) if able else max(tried, key=expected.__getitem__)
    assert len(minds) == len(tried) + 1
    assert kept.plan == best
    assert kept.expected == expected[best]


def test_what_is_known_grows_with_each_plan_that_has_served(found, made):
    one, other = made[0].plan, made[-1].plan

    both = found.learned((one, other))

    alone = found.learned((one,))
    assert both != alone != found.learned(())
    assert both == found.learned((one, other))
    assert alone == found.learned((one,))


def test_a_policy_without_a_plan_says_why(found):
    kept = Settling(found).settled(
        Settling(found).begun(), lambda mind: Made(None, why="none fits"), ANALYTIC
    )

    assert kept.plan is None
    assert kept.why == "none fits"
