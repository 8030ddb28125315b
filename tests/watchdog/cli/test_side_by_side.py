"""One scenario, served and simulated: the two reports lie side by side, and say about the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from regrain_watchdog.cli.describe import describe
from regrain_watchdog.policy.profile import Point, Profile, StageProfile, dumps

pytestmark = pytest.mark.process

APP = """
import time

import regrain

app = regrain.App("pair", slo=regrain.SLO(latency=30.0, attainment=0.9))


@app.stage()
def first(text: str) -> str:
    time.sleep(0.008)
    return text


@app.stage()
def second(text: str) -> str:
    time.sleep(0.012)
    return text


@app.flow
def pair(text: str) -> str:
    return second(first(text))
"""
SCENARIO = """
seed = 3
duration = "8s"
node = {cores = 4, memory = "8Gi"}
[apps.pair]
module = "app.py"
profile = "profile.json"
adapt = true
period = "2s"
grain = "fine"
load = {kind = "poisson", rate = 25}
body = '{"text": "x"}'
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write an app, its profile and a scenario of it."""
    folder: Path = tmp_path_factory.mktemp("pair")
    (folder / "app.py").write_text(APP)
    digests = {stage.name: stage.digest for stage in describe(str(folder / "app.py")).stages}
    stages = {
        name: StageProfile(digest=digests[name], points=(Point(1, 0.0, 1.0, seconds),), load=0.5)
        for name, seconds in (("first", 0.008), ("second", 0.012))
    }
    (folder / "profile.json").write_bytes(dumps(Profile(app="pair", stages=stages)))
    (folder / "scenario.toml").write_text(SCENARIO)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Serve the app, adapted; return the environment in which it is found."""
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
    options = ("--adapt", "--adapt-period", "2s", "--grain", "fine", "--port", "0", "--metrics-port", "0")
    command = [sys.executable, "-m", "regrain_watchdog.cli", "run", str(folder / "app.py"), *options]
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        assert any("ready in" in line for line in process.stdout)
        yield environ
        process.send_signal(signal.SIGTERM)
        process.stdout.read()


def test_what_is_simulated_is_about_what_is_served(folder: Path, served: dict[str, str]) -> None:
    scenario, live, simulated = (folder / name for name in ("scenario.toml", "live.json", "simulated.json"))
    regrain = [sys.executable, "-m", "regrain_watchdog.cli"]

    subprocess.run(
        [*regrain, "load", "--scenario", str(scenario), "-o", str(live)], env=served, check=True, timeout=300
    )
    told = subprocess.run(
        [*regrain, "simulate", str(scenario), "-o", str(simulated), "--against", str(live)],
        env=served,
        check=True,
        timeout=300,
        capture_output=True,
        text=True,
    )

    one, other = (json.loads(file.read_text())["apps"][0] for file in (live, simulated))
    assert one["offered"] == other["offered"]
    assert one["hit_rate"] == pytest.approx(other["hit_rate"], abs=0.2)
    assert one["decisions"]["made"] > 0
    assert other["decisions"]["made"] == 4
    assert one["grains"][0][1] == other["grains"][0][1] == "first | second"
    assert {"live", "simulated", "gap", "points", "cost", "grain", "decisions"} <= set(told.stdout.split())
