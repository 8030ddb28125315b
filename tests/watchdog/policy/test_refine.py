"""A profile that learns from what is served: drift, what lies beyond it, and an app that was never profiled."""

import numpy as np
import pytest

from regrain_watchdog.policy.profile import OutOfRangeError, Point, Profile, StageProfile
from regrain_watchdog.policy.refine import MEMORY, Refined, Seen
from regrain_watchdog.policy.service import ServiceTime

JITTER = 0.1


def truth(batch, share):
    return 0.004 + 0.002 * batch / share


def profiled(on_gpu=True):
    points = [
        Point(batch, 100.0, share, truth(batch, share), 0.1, 20)
        for share in (0.25, 0.5, 1.0)
        for batch in (1, 4, 8)
    ]
    return Profile(app="a", stages={"read": StageProfile(digest="", on_gpu=on_gpu, points=tuple(points))})


def unknown(on_gpu=True):
    return Profile(app="a", stages={"read": StageProfile(digest="", on_gpu=on_gpu, points=())})


def serve(refined, rng, count, *, drift=1.0, share=0.5, batches=(1, 2, 3, 4, 5, 6, 7, 8)):
    for batch in rng.choice(batches, count):
        seconds = truth(int(batch), share) * drift * rng.lognormal(-(JITTER**2) / 2, JITTER)
        refined.take(Seen(stage="read", share=share, units=int(batch), calls=1, seconds=seconds, size=100.0))


def times(refined):
    return ServiceTime.of("read", refined.profile().stages["read"])


@pytest.mark.parametrize("drift", [0.9, 1.1], ids=["faster", "slower"])
@pytest.mark.parametrize("seed", range(5))
def test_a_drift_of_ten_percent_is_learnt_everywhere_from_calls_at_one_share(drift, seed):
    refined = Refined(profiled(), {"read": 8})

    serve(refined, np.random.default_rng(seed), 600, drift=drift)

    assert refined.factor("read") == pytest.approx(drift, rel=0.02)
    assert times(refined).call(8, 0.25)[0] == pytest.approx(truth(8, 0.25) * drift, rel=0.02)


def test_few_calls_move_a_profile_little():
    refined = Refined(profiled(), {"read": 8})

    serve(refined, np.random.default_rng(1), 2, drift=2.0)

    assert 1.0 < refined.factor("read") < 1.15


def test_a_stage_that_changes_for_good_is_followed_within_its_memory():
    refined = Refined(profiled(), {"read": 8})
    rng = np.random.default_rng(1)

    serve(refined, rng, 20_000, drift=0.9)
    serve(refined, rng, int(3 * MEMORY), drift=1.1)

    assert refined.factor("read") == pytest.approx(1.1, rel=0.03)


def test_a_point_that_was_measured_wrong_is_learnt_without_the_others():
    points = [
        Point(batch, 100.0, share, truth(batch, share) * (0.9 if batch == 4 else 1.0), 0.1, 20)
        for share in (0.25, 0.5, 1.0)
        for batch in (1, 4, 8)
    ]
    refined = Refined(
        Profile(app="a", stages={"read": StageProfile(digest="", on_gpu=True, points=tuple(points))}),
        {"read": 8},
    )

    serve(refined, np.random.default_rng(1), 2400, batches=(1, 4, 8))

    found = [times(refined).call(batch, 0.5)[0] for batch in (1, 4, 8)]
    assert found == pytest.approx([truth(batch, 0.5) for batch in (1, 4, 8)], rel=0.02)
    assert refined.factor("read") == pytest.approx((1 + 1 / 0.9 + 1) / 3, rel=0.02)


def test_calls_at_one_share_say_of_another_what_they_say_on_the_whole():
    refined = Refined(profiled(), {"read": 8})

    serve(refined, np.random.default_rng(1), 1200, batches=(1,), drift=1.2)
    serve(refined, np.random.default_rng(2), 1200, batches=(8,))

    factor = refined.factor("read")
    assert times(refined).call(8, 1.0)[0] == pytest.approx(factor * truth(8, 1.0))
    assert times(refined).call(1, 0.5)[0] > 1.1 * truth(1, 0.5)


def test_it_is_seen_that_a_single_point_turns_out_to_be_another():
    refined = Refined(profiled(), {"read": 8})
    serve(refined, np.random.default_rng(1), 2000, batches=(1,))
    before = refined.known()

    serve(refined, np.random.default_rng(2), 40, batches=(8,), drift=1.5)

    after = refined.known()
    assert len(after) == len(before)
    assert max(new / old for new, old in zip(after, before, strict=True)) > 1.2


def test_one_call_that_hangs_does_not_spoil_the_profile():
    refined = Refined(profiled(), {"read": 8})
    serve(refined, np.random.default_rng(1), 400)

    refined.take(Seen(stage="read", share=0.5, units=1, calls=1, seconds=60.0, size=100.0))

    assert refined.factor("read") < 1.05


def test_calls_of_several_batches_count_as_of_their_mean():
    refined = Refined(profiled(), {"read": 8})

    for _ in range(200):
        refined.take(
            Seen(
                stage="read", share=0.5, units=10, calls=2, seconds=truth(8, 0.5) + truth(2, 0.5), size=100.0
            )
        )

    assert refined.factor("read") == pytest.approx(1.0, rel=0.01)


def test_an_app_never_profiled_knows_what_was_seen():
    refined = Refined(unknown(), {"read": 8})

    serve(refined, np.random.default_rng(1), 800)

    found = times(refined)
    assert [found.call(batch, 0.5)[0] for batch in (1, 4, 8)] == pytest.approx(
        [truth(batch, 0.5) for batch in (1, 4, 8)], rel=0.05
    )
    assert found.cv == pytest.approx(JITTER, rel=0.5)


def test_around_what_was_seen_times_are_assumed_that_none_should_exceed():
    refined = Refined(unknown(), {"read": 8})

    serve(refined, np.random.default_rng(1), 400, batches=(2, 3))

    found = times(refined)
    for batch, share in [(1, 0.5), (5, 0.5), (8, 0.5), (2, 0.25), (8, 0.25), (3, 1.0), (8, 1.0)]:
        assert found.call(batch, share)[0] >= truth(batch, share) * 0.97


def test_assumed_points_are_marked_and_end_at_the_neighbours():
    refined = Refined(unknown(), {"read": 8})

    serve(refined, np.random.default_rng(1), 50, batches=(4,))

    points = refined.profile().stages["read"].points
    assert {(point.batch, point.share) for point in points if point.count} == {(4, 0.5)}
    assert {point.share for point in points if not point.count} == {0.25, 0.5, 1.0}
    with pytest.raises(OutOfRangeError):
        times(refined).call(4, 0.2)
    with pytest.raises(OutOfRangeError):
        times(refined).call(9, 0.5)


def test_a_whole_gpu_is_the_largest_share_that_is_assumed_but_more_cores_may_be():
    assumed = {}
    for on_gpu in (True, False):
        refined = Refined(unknown(on_gpu), {"read": 1})
        refined.take(Seen(stage="read", share=1.0, units=1, calls=1, seconds=0.1))
        assumed[on_gpu] = {point.share for point in refined.profile().stages["read"].points}

    assert assumed == {True: {0.5, 1.0}, False: {0.5, 1.0, 2.0}}


def test_what_a_profile_does_not_reach_is_added_to_it_and_nothing_is_assumed():
    refined = Refined(profiled(), {"read": 8})

    serve(refined, np.random.default_rng(1), 100, share=0.1, batches=(1, 8))

    points = refined.profile().stages["read"].points
    assert times(refined).call(1, 0.1)[0] == pytest.approx(truth(1, 0.1), rel=0.05)
    assert all(point.count for point in points)


def test_what_says_nothing_is_left_alone():
    refined = Refined(unknown(), {})

    refined.take(Seen(stage="read", share=0.5, units=0, calls=0, seconds=0.0))
    refined.take(Seen(stage="other", share=0.5, units=1, calls=1, seconds=1.0))

    assert refined.profile() == unknown()


def test_batches_that_a_profile_does_not_reach_take_longer_as_they_are_larger_until_they_are_seen():
    points = tuple(Point(batch, 100.0, 0.5, truth(batch, 0.5), 0.1, 20) for batch in (2, 4))
    partly = Profile(app="a", stages={"read": StageProfile(digest="", on_gpu=True, points=points)})
    refined = Refined(partly, {"read": 8})
    before = times(refined)

    serve(refined, np.random.default_rng(1), 100, batches=(8,))

    assert before.call(8, 0.5)[0] == pytest.approx(2 * truth(4, 0.5))
    assert before.call(1, 0.5)[0] == pytest.approx(truth(2, 0.5))
    assert times(refined).call(8, 0.5)[0] == pytest.approx(truth(8, 0.5), rel=0.05)
    assert [point.batch for point in refined.profile().stages["read"].points if not point.count] == [1]
