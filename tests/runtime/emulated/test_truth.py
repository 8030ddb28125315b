"""How long an emulated kernel takes: decided by seed and key, around what was measured."""

import statistics
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.cards import CARDS
from regrain.errors import SpecError
from regrain.wire.lease import Beside
from regrain_runtime.emulated.models import model_named, shipped
from regrain_runtime.emulated.scenario import Scenario, Standing
from regrain_runtime.emulated.truth import SPEED, Truth

STAGES = {model.name: Standing(model=model.name) for model in shipped().models}
NAMES = st.sampled_from(sorted(STAGES))
RUNS = st.tuples(st.integers(1, 16), st.floats(0.05, 1.0))  # of a batch on a share
CALLS = 20_000


def truth(card="v100", *, drifting=True, stages=STAGES, **settings):
    return Truth(Scenario(stages=stages, **settings), CARDS[card], drifting=drifting)


def still(card="v100", **settings):
    """A truth without jitter, so that what else is in it can be seen."""
    return truth(card, **{"jitter": 0.0, **settings})


@given(NAMES, RUNS)
def test_alone_and_without_jitter_a_kernel_takes_what_was_measured(name, run):
    assert still().seconds(name, *run) == pytest.approx(model_named(name).time(*run))


@given(NAMES, RUNS, st.integers(), st.text(), st.integers(0, 1000))
def test_seed_stage_request_and_call_decide_the_time(name, run, seed, key, call):
    one, other = truth(seed=seed), truth(seed=seed)
    expected = one.seconds(name, *run, key=key, call=call)
    other.seconds(name, *run, key=key, call=call + 1)

    assert other.seconds(name, *run, key=key, call=call) == expected


@given(st.text(), st.integers(0, 100))
def test_another_seed_stage_request_or_call_is_another_draw(key, call):
    stages = {"a": Standing(model="vgg11"), "b": Standing(model="vgg11")}
    times = [
        truth(stages=stages, seed=1).seconds("a", 1, 1.0, key=key, call=call),
        truth(stages=stages, seed=2).seconds("a", 1, 1.0, key=key, call=call),
        truth(stages=stages, seed=1).seconds("b", 1, 1.0, key=key, call=call),
        truth(stages=stages, seed=1).seconds("a", 1, 1.0, key=key + "'", call=call),
        truth(stages=stages, seed=1).seconds("a", 1, 1.0, key=key, call=call + 1),
    ]

    assert len(set(times)) == len(times)


def test_the_same_draw_comes_out_of_another_process():
    """Python's own hash of a text would not."""
    code = (
        "from regrain.cards import CARDS\n"
        "from regrain_runtime.emulated.scenario import Scenario, Standing\n"
        "from regrain_runtime.emulated.truth import Truth\n"
        "truth = Truth(Scenario(stages={'vgg11': Standing(model='vgg11')}, seed=5), CARDS['v100'])\n"
        "print(repr(truth.seconds('vgg11', 3, 0.4, key='request', call=2)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert float(done.stdout) == truth(seed=5).seconds("vgg11", 3, 0.4, key="request", call=2)


@pytest.mark.parametrize("jitter", [0.05, 0.1, 0.3])
def test_jitter_is_lognormal_with_mean_one_and_the_cv_asked_for(jitter):
    times = truth(jitter=jitter)
    measured = model_named("resnet50").time(1, 1.0)

    ratios = [times.seconds("resnet50", 1, 1.0, call=call) / measured for call in range(CALLS)]

    mean, spread = statistics.fmean(ratios), statistics.stdev(ratios)
    assert mean == pytest.approx(1, abs=5 * jitter / CALLS**0.5)
    assert spread / mean == pytest.approx(jitter, rel=0.05)
    assert statistics.median(ratios) == pytest.approx((1 + jitter**2) ** -0.5, abs=7 * jitter / CALLS**0.5)


@given(NAMES, RUNS, st.floats(0.1, 10), st.floats(-0.5, 1), st.floats(0, 3))
def test_scale_drift_and_neighbours_multiply(name, run, scale, drift, others):
    stages = {"stage": Standing(model=name, scale=scale, drift=drift)}
    times = still(stages=stages, interference=0.2)

    expected = model_named(name).time(*run) * scale * (1 + drift) * (1 + 0.2 * others)

    assert times.seconds("stage", *run, others=others) == pytest.approx(expected)


@pytest.mark.parametrize("card", sorted(CARDS))
def test_every_card_has_a_speed_against_the_measured_one(card):
    assert set(SPEED) == set(CARDS)
    assert SPEED["v100"] == 1
    expected = model_named("vgg19").time(8, 0.5) / SPEED[card]
    assert still(card).seconds("vgg19", 8, 0.5) == pytest.approx(expected)


@given(NAMES, st.integers())
def test_a_drawn_drift_stays_within_the_scenarios_and_is_the_stages_for_good(name, seed):
    drifted = truth(drift=0.1, seed=seed)

    assert -0.1 < drifted.drift(name) < 0.1
    assert drifted.drift(name) == truth(drift=0.1, seed=seed).drift(name)


def test_stages_drift_apart_in_both_directions():
    drifts = [truth(drift=0.1).drift(name) for name in STAGES]

    assert len(set(drifts)) == len(drifts)
    assert min(drifts) < 0 < max(drifts)


def test_a_profile_is_taken_before_anything_has_drifted():
    stages = {"a": Standing(model="vgg11", drift=0.5), "b": Standing(model="vgg11")}
    settings = {"stages": stages, "drift": 0.1}

    profiled = truth(drifting=False, **settings)
    assert [profiled.drift(name) for name in stages] == [0.0, 0.0]
    assert truth(**settings).drift("a") == 0.5
    assert profiled.seconds("a", 1, 1.0) * 1.5 == pytest.approx(truth(**settings).seconds("a", 1, 1.0))


def test_a_load_takes_the_stages_time_with_jitter_of_its_own():
    stages = {"a": Standing(model="vgg11", load_time=2.0)}

    assert still(stages=stages).load_seconds("a") == pytest.approx(2.0)
    loads = [truth(stages=stages).load_seconds("a", key=replica) for replica in ("one", "two")]
    assert loads[0] != loads[1]
    assert loads == [truth(stages=stages).load_seconds("a", key=replica) for replica in ("one", "two")]


def test_a_process_holds_one_context_all_weights_and_the_activations_of_what_runs():
    stages = {
        "a": Standing(model="vgg11", weights=100, activations=7),
        "b": Standing(model="vgg11", weights=50, activations=9),
    }
    node = truth(stages=stages, context=1000)

    assert node.memory(["a", "b"], "b", 4) == 1000 + 150 + 4 * 9
    assert node.memory(["a"], "a", 1) == 1107
    assert node.memory(["a", "b"]) == 1150
    assert node.memory([]) == 1000


def test_neighbours_count_by_their_part_of_the_card_and_the_most_pressing_of_their_stages():
    stages = {"a": Standing(model="vgg11", pressure=2.0), "b": Standing(model="vgg11", pressure=0.5)}
    node = truth(stages=stages)

    assert node.others([]) == 0
    assert node.others([Beside("app/a+b", 20), Beside("app/c+b", 20), Beside("other/x", 40)]) == (
        pytest.approx(2.0 / 4 + 0.5 / 4 + 1 / 2)
    )


def test_pressure_is_the_stages_own():
    stages = {"a": Standing(model="vgg11", pressure=2.0), "b": Standing(model="vgg11")}

    assert [truth(stages=stages).pressure(name) for name in stages] == [2.0, 1.0]


def test_a_stage_that_the_scenario_does_not_name_is_refused_with_those_it_names():
    node = truth(stages={"detect": Standing(model="vgg11")})

    for ask in (
        lambda: node.seconds("crop", 1, 1.0),
        lambda: node.load_seconds("crop"),
        lambda: node.memory(["crop"]),
        lambda: node.pressure("crop"),
        lambda: node.drift("crop"),
    ):
        with pytest.raises(SpecError, match=r"stage 'crop' stands for; it names detect"):
            ask()


@pytest.mark.parametrize("others", [-0.1, float("nan"), float("inf")])
def test_neighbours_that_hold_less_than_nothing_are_refused(others):
    with pytest.raises(SpecError, match=r"must add up to 0 or more, was"):
        truth().seconds("vgg11", 1, 1.0, others=others)
