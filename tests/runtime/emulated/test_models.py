"""The measured tables: exact where measured, in between where not, silent outside."""

from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

import regrain_runtime.emulated
from regrain.errors import SpecError
from regrain_runtime.emulated.models import Model, model_named, shipped

MODELS = shipped().models
ANY = st.sampled_from(MODELS)
SHARES = st.floats(0.05, 1.0)


def table(**changes):
    """A model that halves with twice the share and doubles with twice the batch."""
    seconds = {1: (0.08, 0.04, 0.02), 2: (0.16, 0.08, 0.04), 4: (0.32, 0.16, 0.08)}
    return Model(
        **{"name": "made", "parameters": 10, "shares": (0.25, 0.5, 1.0), "seconds": seconds, **changes}
    )


def test_at_least_twelve_models_from_small_to_large_are_shipped():
    whole = [model.time(8, 1.0) for model in MODELS]

    assert len(MODELS) >= 12
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert whole == sorted(whole)
    assert whole[-1] > 15 * whole[0]


def test_the_source_and_its_licence_are_shipped_with_the_figures():
    source = shipped().source

    assert source.project
    assert source.commit
    assert source.changes
    assert source.copyright.startswith("Copyright")
    licence = resources.files(regrain_runtime.emulated).joinpath("LICENSE.apache-2.0.txt").read_text()
    assert "Apache License" in licence
    assert "LICENSE.apache-2.0.txt" in source.licence


@given(ANY, st.data())
def test_a_measured_point_is_given_back_as_it_is(model, data):
    batch = data.draw(st.sampled_from(model.batches))
    place = data.draw(st.integers(0, len(model.shares) - 1))

    assert model.time(batch, model.shares[place]) == model.seconds[batch][place]


@given(ANY, st.integers(1, 20).map(lambda twentieth: 5 * twentieth))
def test_a_share_that_went_through_multiprocessors_is_still_the_measured_one(model, percent):
    """80 SMs times 0.15 by way of 12/80 is not 0.15 to the last bit."""
    assert model.time(1, percent * 0.8 / 80) == model.time(1, percent / 100)


@given(ANY, SHARES, st.integers(1, 8))
def test_between_measured_points_the_time_is_between_theirs(model, share, batch):
    corners = [
        seconds[place]
        for size, seconds in model.seconds.items()
        if size in neighbours(model.batches, batch)
        for place, measured in enumerate(model.shares)
        if measured in neighbours(model.shares, share)
    ]

    assert min(corners) * (1 - 1e-9) <= model.time(batch, share) <= max(corners) * (1 + 1e-9)


def neighbours(values, wanted):
    """The measured values beside the one wanted, or itself."""
    return {max(v for v in values if v <= wanted), min(v for v in values if v >= wanted)}


@given(
    st.tuples(st.floats(0.25, 1.0), st.floats(0.25, 1.0)), st.tuples(st.integers(1, 12), st.integers(1, 12))
)
def test_where_the_measurements_are_monotone_so_is_everything_between(shares, batches):
    (share, more_share), (batch, more_batch) = sorted(shares), sorted(batches)
    made = table()

    assert made.time(batch, share) >= made.time(batch, more_share) - 1e-12
    assert made.time(batch, share) <= made.time(more_batch, share) + 1e-12


@given(st.floats(0.25, 1.0), st.floats(1e-4, 1.0), st.floats(0.0, 1.0))
def test_amdahls_law_is_interpolated_exactly(share, work, rest):
    shares = (0.25, 0.5, 1.0)
    made = table(seconds={1: tuple(work / s + rest for s in shares)}, shares=shares)

    assert made.time(1, share) == pytest.approx(work / share + rest)


def test_a_batch_between_two_measured_ones_takes_what_is_between():
    assert table().time(3, 1.0) == pytest.approx(0.06)


def test_a_batch_larger_than_any_measured_one_runs_as_several():
    made = table()

    assert made.time(11, 0.5) == pytest.approx(2 * made.time(4, 0.5) + made.time(3, 0.5))
    assert made.time(8, 0.5) == pytest.approx(2 * made.time(4, 0.5))


@given(ANY, st.one_of(st.floats(max_value=0.0499), st.floats(min_value=1.001), st.just(float("nan"))))
def test_a_share_that_nobody_measured_is_refused(model, share):
    with pytest.raises(SpecError, match=rf"{model.name} was measured at shares of 0.05 to 1, was"):
        model.time(1, share)


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_nothing_is_refused(batch):
    with pytest.raises(SpecError, match=f"at least 1 item, was {batch}"):
        MODELS[0].time(batch, 1.0)


def test_an_unknown_model_is_refused_with_those_that_there_are():
    with pytest.raises(SpecError, match=r"no emulated model 'resnet5', there are alexnet, .*regnet_y_32gf"):
        model_named("resnet5")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        pytest.param({"shares": ()}, "shares must ascend within", id="no shares"),
        pytest.param({"shares": (0.5, 0.25, 1.0)}, "shares must ascend within", id="shares in disorder"),
        pytest.param({"shares": (0.0, 0.5, 1.0)}, "shares must ascend within", id="a share of nothing"),
        pytest.param({"shares": (0.5, 1.0, 2.0)}, "shares must ascend within", id="more than the card"),
        pytest.param({"seconds": {}}, "batches must ascend from 1", id="no batches"),
        pytest.param({"seconds": {2: (1.0, 1.0, 1.0)}}, "batches must ascend from 1", id="no batch of one"),
        pytest.param({"seconds": {1: (1.0, 1.0)}}, "a batch of 1 needs 3 positive times", id="a gap"),
        pytest.param({"seconds": {1: (1.0, 0.0, 1.0)}}, "needs 3 positive times", id="no time at all"),
        pytest.param({"seconds": {1: (1.0, float("nan"), 1.0)}}, "needs 3 positive times", id="no number"),
    ],
)
def test_a_table_with_holes_is_refused(changes, complaint):
    with pytest.raises(SpecError, match=f"made: .*{complaint}"):
        table(**changes)


def test_weights_are_32_bit_floats():
    assert model_named("resnet50").weights == 25_557_032 * 4
