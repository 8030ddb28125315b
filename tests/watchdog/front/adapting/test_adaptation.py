"""What a plan is adapted to, and by which profile."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from regrain_watchdog.front.adapting.adaptation import find_profile
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.hosted import Hosted

PATIENCE = 60.0
APP = """
from regrain import SLO, App

app = App("meant", slo=SLO(latency=1.0))


@app.stage()
def tell(word: str) -> str:
    return word


@app.flow
def flow(word: str) -> str:
    return tell(word)
"""

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


@pytest.mark.process
def test_a_version_without_an_objective_is_not_adapted_until_one_with_it_is_back(tmp_path, caplog) -> None:
    path = tmp_path / "app.py"
    path.write_text(APP)

    async def scenario() -> None:
        hosted = Hosted(Config(adapt=True, predictor="analytic"), str(path))
        try:
            await hosted.load(await hosted.hello())
            await hosted.start()
            adaptation = hosted.adaptation
            adaptation.start()
            first = adaptation.status()["pid"]

            path.write_text(APP.replace(", slo=SLO(latency=1.0)", ""))
            await hosted.changes.update()
            alone = adaptation.status()
            await hosted.live.drained()
            await hosted.changes.roll_back()
            again = adaptation.status()
        finally:
            await hosted.drain()
            await hosted.live.stop()
            await hosted.close()

        assert (alone["pid"], adaptation.counts.ends) == (0, 0)
        assert alone["trouble"].startswith("the version in force is not adapted: ")
        assert "the app has no objective to adapt to" in alone["trouble"]
        assert alone["trouble"] in caplog.messages
        assert again["pid"] not in (0, first)
        assert again["trouble"] == ""

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
