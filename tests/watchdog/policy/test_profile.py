"""A profile as a file, and whether it is of this app."""

import pytest

from regrain_watchdog.policy.profile import Hop, Point, Profile, ProfileError, StageProfile, dumps, loads

PROFILE = Profile(
    app="ocr",
    device="v100",
    stages={
        "decode": StageProfile(digest="a", points=(Point(1, 1e5, 1.0, 0.01, 0.1, 20),), load=0.1),
        "read": StageProfile(digest="b", on_gpu=True, points=(Point(1, 1e5, 0.5, 0.02),), weights=1 << 20),
    },
    hop=Hop(0.0003, 1e-9),
)


def test_a_profile_comes_back_from_its_file():
    assert loads(dumps(PROFILE)) == PROFILE


def test_a_profile_of_the_same_stages_passes():
    PROFILE.check({"decode": "a", "read": "b"})


def test_a_profile_that_lacks_stages_or_knows_other_code_says_which():
    with pytest.raises(ProfileError, match="lacks crop and knows other code of read"):
        PROFILE.check({"decode": "a", "crop": "c", "read": "d"})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"app": "ocr"}', b"\xff\x00", b'{"app": "\xff"}', dumps(PROFILE)[:-20]]
)
def test_what_is_no_profile_is_refused(data):
    with pytest.raises(ProfileError, match="this is no profile"):
        loads(data)


def test_a_profile_of_another_version_is_refused():
    with pytest.raises(ProfileError, match="version 2; this Regrain reads version 1"):
        loads(dumps(PROFILE).replace(b'"version": 1', b'"version": 2'))


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        pytest.param(b"0.02", b"-0.02", r"Expected `float` >= 0.0 .*points", id="seconds"),
        pytest.param(b"0.5", b"0", r"Expected `float` > 0.0 .*points", id="share"),
        pytest.param(b'"load": 0.1', b'"load": -1', r"`float` >= 0.0 .*load", id="load"),
    ],
)
def test_a_number_that_cannot_be_is_refused(was, becomes, said):
    changed = dumps(PROFILE).replace(was, becomes)

    assert changed != dumps(PROFILE)
    with pytest.raises(ProfileError, match=said):
        loads(changed)


def test_a_profile_of_a_stage_without_points_is_refused():
    bare = Profile(app="ocr", stages={"crop": StageProfile(digest="", points=())})

    with pytest.raises(ProfileError, match="no points of crop; run `regrain profile` again"):
        loads(dumps(bare))
