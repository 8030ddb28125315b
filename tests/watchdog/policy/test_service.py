"""T(batch, size, share): what lies between measured points, what is missing of them, and what lies beyond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.policy.profile import OutOfRangeError, Point, ProfileError, StageProfile
from regrain_watchdog.policy.service import ServiceTime, falling


def law(batch, size, share):
    """A stage as they are: a part that shrinks with its share, and more of it for each unit and byte."""
    return (0.002 + 0.003 * batch / share) * (1 + size / 1e5)


def profile(settings, cv=0.0, count=1, seconds=law):
    points = [
        Point(batch, size, share, seconds(batch, size, share), cv, count) for batch, size, share in settings
    ]
    return StageProfile(digest="", on_gpu=True, points=tuple(points))


GRID = [(batch, size, share) for share in (0.25, 0.5, 1.0) for size in (0.0, 1e5) for batch in (1, 2, 4)]


def test_a_measured_point_is_given_back_as_it_is():
    time = ServiceTime.of("read", profile(GRID))

    for batch, _, share in GRID:
        assert time.call(batch, share) == pytest.approx([law(batch, 0.0, share), law(batch, 1e5, share)])


def test_between_shares_time_is_linear_in_the_inverse_and_between_batches_linear():
    time = ServiceTime.of("read", profile(GRID))

    assert time.call(3, 0.4)[0] == pytest.approx(law(3, 0.0, 0.4))


def test_no_units_take_no_time():
    assert list(ServiceTime.of("read", profile(GRID)).call(0, 1.0)) == [0.0, 0.0]


@pytest.mark.parametrize(("batch", "share", "what"), [(5, 1.0, "a batch of 5"), (1, 0.2, "a share of 0.2")])
def test_beyond_what_was_measured_there_is_no_answer(batch, share, what):
    time = ServiceTime.of("read", profile(GRID))

    with pytest.raises(OutOfRangeError, match=f"{what} was not measured for stage read"):
        time.call(batch, share)


def test_a_profile_without_points_is_refused():
    with pytest.raises(ProfileError, match="no points of stage read"):
        ServiceTime.of("read", profile([]))


def test_holes_of_the_grid_are_filled_by_what_the_others_say_of_their_share_size_and_batch():
    def product(batch, size, share):
        return 0.001 * batch**0.7 * share**-0.6 * (1 + size / 1e5)

    cross = [one for one in GRID if one[2] == 1.0 or one[:2] == (1, 0.0)]
    time = ServiceTime.of("read", profile(cross, seconds=product))

    for batch, _, share in GRID:
        assert time.call(batch, share) == pytest.approx(
            [product(batch, 0.0, share), product(batch, 1e5, share)]
        )


def test_where_points_say_nothing_of_a_hole_time_grows_as_batch_over_share():
    apart = [(1, 0.0, 1.0), (4, 0.0, 0.5)]
    time = ServiceTime.of("read", profile(apart, seconds=lambda batch, size, share: 0.01 * batch / share))

    assert time.call(4, 1.0)[0] == pytest.approx(0.04)
    assert time.call(1, 0.5)[0] == pytest.approx(0.02)


def test_a_larger_share_is_not_slower_where_noise_explains_it():
    def noisy(batch, size, share):
        return {0.25: 0.04, 0.5: 0.0201, 1.0: 0.0203}[share]

    settings = [(1, 0.0, share) for share in (0.25, 0.5, 1.0)]
    calm = ServiceTime.of("read", profile(settings, cv=0.1, count=4, seconds=noisy))
    sure = ServiceTime.of("read", profile(settings, cv=0.001, count=400, seconds=noisy))

    assert calm.call(1, 0.5)[0] == calm.call(1, 1.0)[0] == pytest.approx(0.0202)
    assert sure.call(1, 1.0)[0] > sure.call(1, 0.5)[0]


@given(
    st.lists(st.lists(st.floats(1e-4, 10.0), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0.0, 100.0),
)
def test_the_repair_never_moves_a_time_by_more_than_its_doubt(rows, doubt):
    seconds = np.array(rows)[:, None, :]

    found = falling(seconds, np.full(seconds.shape, doubt))

    assert (np.abs(found - seconds) <= doubt + 1e-9).all()
    if doubt > 10:
        assert (np.diff(found, axis=0) <= 1e-12).all()
