"""A profile on disk."""

import pytest

from regrain_watchdog.policy.profile import Profile, ProfileError
from regrain_watchdog.profile import file

PROFILE = Profile(app="ocr", stages={})


def test_what_was_written_is_read_and_nothing_else_is_left(tmp_path):
    file.write(tmp_path / "profile.json", PROFILE)

    assert file.read(tmp_path / "profile.json") == PROFILE
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_a_profile_that_cannot_be_written_leaves_the_old_one(tmp_path):
    file.write(tmp_path / "profile.json", PROFILE)

    with pytest.raises(TypeError):
        file.write(tmp_path / "profile.json", Profile(app=object(), stages={}))

    assert file.read(tmp_path / "profile.json") == PROFILE
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]


def test_a_folder_is_no_profile(tmp_path):
    with pytest.raises(ProfileError, match="no profile that can be read: Is a directory"):
        file.read(tmp_path)


@pytest.mark.parametrize("name", ["none/profile.json", "."])
def test_where_nothing_can_be_written_is_said_with_the_name_of_the_file(tmp_path, name):
    with pytest.raises(ProfileError, match=r"no profile can be written there: (No such file|Is a directory)"):
        file.check_writable(tmp_path / name)
    with pytest.raises(ProfileError, match="no profile can be written there"):
        file.write(tmp_path / name, PROFILE)

    assert list(tmp_path.iterdir()) == []
