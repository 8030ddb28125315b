"""The GPU that an app is measured on: its shares, and a scenario without what comes after a profile."""

import json
import tomllib

import pytest

from regrain.errors import SpecError
from regrain.wire.frames import Entitle
from regrain.wire.lease import Share
from regrain_watchdog.front.config import Config
from regrain_watchdog.profile.seats import Seats, undrifted

SCENARIO = """
[emulated]
seed = 3
drift = 0.1
jitter = 0.2

[emulated.stages.read]
model = "resnet50"
drift = 0.5
scale = 2.0

[emulated.stages.see]
model = "alexnet"
"""


def seats(device="v100", sms=80, scenario="scenario.toml"):
    entitled = Entitle("/run/gpu0.sock", "ocr/read", "emulated", 0, 1.0, Share(), device, scenario)
    return Seats(device, sms, entitled)


@pytest.mark.parametrize(("device", "sms"), [("v100", 80), ("a10", 72), ("a100", 108), ("h200", 132)])
def test_shares_are_of_whole_sms_and_each_can_be_leased(device, sms):
    found = seats(device, sms)

    shares = found.shares()

    assert shares == tuple(sorted(shares))
    assert len(shares) == 20
    assert shares[-1] == 1.0
    assert all(share * sms == pytest.approx(round(share * sms)) for share in shares)
    assert [found.entitle(share).fraction for share in shares] == list(shares)


def test_a_share_that_emulated_models_were_not_measured_on_is_refused():
    with pytest.raises(SpecError, match="models were measured on 5% and more"):
        seats().entitle(0.02)


def test_a_profile_is_taken_without_drift_and_with_all_else_of_the_scenario(tmp_path):
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    config = Config(gpus="emulated:v100", scenario=str(tmp_path / "scenario.toml"))

    found = undrifted(config, tmp_path)

    told = json.loads((tmp_path / "scenario.json").read_text())["emulated"]
    expected = tomllib.loads(SCENARIO)["emulated"] | {"drift": 0.0}
    del expected["stages"]["read"]["drift"]
    assert told == expected
    assert (found.gpus, found.scenario) == ("emulated:v100", str(tmp_path / "scenario.json"))


@pytest.mark.parametrize(
    "text", ["", "[emulated", "[other]\nx = 1\n", "emulated = 1\n", "[emulated]\nstages = 1\n"]
)
def test_a_scenario_that_is_none_is_left_to_its_reader_to_refuse(tmp_path, text):
    (tmp_path / "scenario.toml").write_text(text)
    config = Config(gpus="emulated:v100", scenario=str(tmp_path / "scenario.toml"))

    assert undrifted(config, tmp_path) is config


def test_what_a_process_holds_is_its_own_word_where_nobody_else_knows():
    assert seats().held(1, 4096) == 4096
