"""Which devices a setting means: emulated ones, and MIG instances as NVML tells of them."""

from __future__ import annotations

import asyncio
import os

import pytest

from regrain.errors import SpecError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.survey import devices, wanted

PYNVML = """
from types import SimpleNamespace

class NVMLError(Exception):
    pass

SLICES = {0: 4, 2: 1, 3: 2}
WITHIN = {}
nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: "GPU-0"
nvmlDeviceGetMigMode = lambda gpu: [1, 1]
nvmlDeviceGetMaxMigDeviceCount = lambda gpu: 7
nvmlDeviceGetName = lambda handle: "H200 " + handle

def nvmlDeviceGetMigDeviceHandleByIndex(gpu, index):
    if index not in SLICES:
        raise NVMLError("Not Found")
    return "MIG-%d" % SLICES[index]

def nvmlDeviceGetUUID(handle):
    return handle

def nvmlDeviceGetAttributes(handle):
    slices = int(handle[-1])
    return SimpleNamespace(
        gpuInstanceSliceCount=WITHIN.get(slices, slices),
        computeInstanceSliceCount=slices,
        multiprocessorCount=16 * slices,
        memorySizeMB=16 * 1024 * WITHIN.get(slices, slices),
    )
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Have what is started from here on find a stand-in for NVIDIA's library, of this text."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return (tmp_path / "pynvml.py").write_text


@pytest.mark.process
def test_the_devices_of_mig_are_the_instances_that_exist_the_smallest_first(library):
    library(PYNVML)

    backend, found = asyncio.run(devices("mig"))

    assert backend == "mig"
    assert [(one.uuid, one.name, one.sms, one.memory, one.part) for one in found] == [
        (f"MIG-{slices}", f"H200 MIG-{slices}", 16 * slices, (16 * slices) << 30, slices / 7)
        for slices in (1, 2, 4)
    ]


@pytest.mark.process
def test_parts_of_a_gpu_instance_are_no_devices_of_mig(library, caplog):
    library(PYNVML.replace("WITHIN = {}", "WITHIN = {1: 3, 2: 3}"))

    _, found = asyncio.run(devices("mig"))

    assert [(one.uuid, one.memory) for one in found] == [("MIG-4", 64 << 30)]
    assert [record.getMessage() for record in caplog.records] == [
        f"H200 MIG-{slices} (MIG-{slices}) is left out: parts of a GPU instance share its memory"
        for slices in (1, 2)
    ]


@pytest.mark.process
def test_where_no_gpu_is_cut_mig_is_refused(library):
    library(PYNVML.replace("[1, 1]", "[0, 0]"))

    with pytest.raises(SpecError, match=r"gpus was 'mig', which does not work here: no GPU is cut into MIG"):
        asyncio.run(devices("mig"))


def test_the_devices_of_an_emulated_node_are_its_cards():
    backend, found = asyncio.run(devices("emulated:v100,a10"))

    assert backend == "emulated"
    assert [(one.name, one.sms, one.uuid, one.part) for one in found] == [
        ("v100", 80, "", 1.0),
        ("a10", 72, "", 1.0),
    ]


def test_what_means_no_gpus_is_refused_naming_what_does():
    with pytest.raises(SpecError, match=r"'quantum'; allowed are emulated ones .* by lease, green, mps, mig"):
        asyncio.run(devices("quantum"))


@pytest.mark.parametrize(
    ("name", "text", "gpus"),
    [
        ("day.toml", '[emulated]\ngpus = "emulated:v100x2"\n', "emulated:v100x2"),
        ("day.json", '{"emulated": {"gpus": "emulated:a10"}}', "emulated:a10"),
        ("day.toml", "[emulated]\nseed = 1\n", ""),
        ("day.toml", "[load]\n", ""),
    ],
    ids=["TOML", "JSON", "it names none", "nothing is emulated"],
)
def test_a_scenario_names_the_gpus_that_it_is_about(tmp_path, name, text, gpus):
    (tmp_path / name).write_text(text)

    assert wanted(Config(scenario=str(tmp_path / name))) == gpus


def test_the_setting_goes_before_what_a_scenario_names(tmp_path):
    (tmp_path / "day.toml").write_text('[emulated]\ngpus = "emulated:v100x2"\n')

    assert wanted(Config(gpus="emulated:a10", scenario=str(tmp_path / "day.toml"))) == "emulated:a10"
    assert wanted(Config()) == ""


def test_a_scenario_that_is_not_there_is_refused_naming_the_setting(tmp_path):
    with pytest.raises(SpecError, match=r"REGRAIN_SCENARIO \(--scenario\): there is no file '.*day\.toml'"):
        wanted(Config(gpus="emulated:a10", scenario=str(tmp_path / "day.toml")))


@pytest.mark.parametrize("text", ["[emulated", '[emulated]\ngpus = "lease"', "[emulated]\ngpus = 2"])
def test_a_scenario_that_names_something_else_is_refused_by_its_name(tmp_path, text):
    (tmp_path / "day.toml").write_text(text)

    with pytest.raises(SpecError, match=r"day\.toml: "):
        wanted(Config(scenario=str(tmp_path / "day.toml")))
