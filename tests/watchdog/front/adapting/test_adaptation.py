"""What is said of the profile that a plan is made by."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from regrain_watchdog.front.adapting.adaptation import find_profile
from regrain_watchdog.front.config import Config

KNOWN = '{"app": "ocr", "stages": {"decode": {"digest": "x", "points": [[1, 0, 1, 0.01]]}}}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "there is no {}: what stages cost is learned while they serve", id="none"),
        pytest.param(KNOWN, "{} is left alone: the profile of ocr", id="of other code"),
    ],
)
def test_a_profile_that_is_not_taken_is_said_to_be_learned(
    ocr, tmp_path: Path, caplog, content, said
) -> None:
    app, path = tmp_path / "app.py", tmp_path / "profile.json"
    app.touch()
    if content is not None:
        path.write_text(content)

    with caplog.at_level(logging.INFO):
        found = find_profile(Config(), str(app), ocr)

    assert found == b""
    assert caplog.messages[0].startswith(said.format(path))
