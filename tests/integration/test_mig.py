"""Apps on MIG instances, over stand-ins for NVIDIA's libraries: each replica sees an instance of its own."""

import os
import subprocess
import sys

import pytest

APP = """
import os

from regrain import GPU, App

app = App("slices", sample={"text": "a"})


@app.stage(gpu=GPU(memory="1Gi", share=0.1))
def small(text: str) -> str:
    return text + os.environ["CUDA_VISIBLE_DEVICES"]


@app.stage(gpu=GPU(memory="20Gi", share=0.1))
def large(text: str) -> str:
    return text + os.environ["CUDA_VISIBLE_DEVICES"]


@app.flow
def flow(text: str) -> str:
    return large(small(text))
"""
CUDA = """
from regrain_runtime.gpu.fake import Card, FakeCuda

_driver = FakeCuda(cards=(Card(name="an instance", sms=16, memory=16 << 30),))


def __getattr__(name):
    return getattr(_driver, name)
"""
NVML = """
from types import SimpleNamespace

class NVMLError(Exception):
    pass

nvmlInit = nvmlShutdown = lambda: None
nvmlDeviceGetCount = lambda: 1
nvmlDeviceGetHandleByIndex = lambda index: "GPU-0"
nvmlDeviceGetHandleByUUID = nvmlDeviceGetUUID = nvmlDeviceGetName = lambda handle: handle
nvmlDeviceGetMigMode = lambda gpu: [1, 1]
nvmlDeviceGetMaxMigDeviceCount = lambda gpu: 7
nvmlDeviceGetComputeRunningProcesses = nvmlDeviceGetMPSComputeRunningProcesses = lambda handle: []
nvmlDeviceGetGraphicsRunningProcesses = lambda handle: []

def nvmlDeviceGetMigDeviceHandleByIndex(gpu, index):
    if index > 1:
        raise NVMLError("Not Found")
    return "MIG-%d" % (index + 1)

def nvmlDeviceGetAttributes(handle):
    slices = int(handle[-1])
    return SimpleNamespace(
        gpuInstanceSliceCount=slices,
        computeInstanceSliceCount=slices,
        multiprocessorCount=16 * slices,
        memorySizeMB=16384 * slices,
    )
"""


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A machine with a GPU that is cut into instances of one and two sevenths, and an app; its path."""
    libraries = tmp_path / "libraries"
    (libraries / "cuda" / "bindings").mkdir(parents=True)
    for package in ("cuda", "cuda/bindings"):
        (libraries / package / "__init__.py").touch()
    (libraries / "cuda" / "bindings" / "driver.py").write_text(CUDA)
    (libraries / "pynvml.py").write_text(NVML)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(libraries), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "app.py").write_text(APP)
    return tmp_path / "app.py"


def test_each_replica_sees_the_smallest_instance_that_has_room_for_it_and_has_it_to_itself(serve, cut):
    served = serve(cut, "--gpus", "mig", "--grain", "fine")

    assert served.call(text="a").text == "aMIG-1MIG-2"
    (one, two) = served.status()["gpus"]
    assert [(gpu["sms"], gpu["part"]) for gpu in (one, two)] == [(16, 1 / 7), (32, 2 / 7)]
    assert [[(each["name"], each["share"]["floor"]) for each in gpu["members"]] for gpu in (one, two)] == [
        [("slices/small", 1.0)],
        [("slices/large", 1.0)],
    ]
    assert [gpu["usage"][0]["grants"] > 0 for gpu in (one, two)] == [True, True]


@pytest.fixture
def shared(cut, tmp_path):
    """Serve the arbiters of the instances for several apps; their folder."""
    folder = tmp_path / "gpus"
    command = [sys.executable, "-m", "regrain_watchdog.cli", "gpu", "serve", "--gpus", "mig"]
    with subprocess.Popen([*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline() for _ in range(2)]
        assert "gpu0.sock: MIG-1, 16 SMs, 16 GiB" in said[0], said
        yield folder
        process.terminate()


def test_an_instance_that_an_app_has_is_no_other_apps(serve, attempt, cut, shared, tmp_path):
    flags = ("--gpus", "mig", "--grain", "fine", "--gpu-folder", str(shared))
    assert serve(cut, *flags).call(text="a").text == "aMIG-1MIG-2"
    other = tmp_path / "other.py"
    other.write_text(APP.replace('"slices"', '"others"'))

    refused = attempt(other, *flags)

    assert refused.ended() == 2
    assert "there are left: GPU 0 (MIG-1) 15360 MiB and 0 of its SMs" in refused.output


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            ("--gpu-shares", "small=0.5"),
            "a replica of small needs 1024 MiB of a GPU and 0.5 of one, which fits on none; there are left: GPU 0",
            id="a share above every instance",
        ),
        pytest.param(("--replicas", "2"), "do not fit together: each of 2 replicas", id="too many replicas"),
    ],
)
def test_what_the_instances_cannot_hold_is_refused_at_the_start(attempt, cut, flags, said):
    served = attempt(cut, "--gpus", "mig", "--grain", "fine", *flags)

    assert served.ended() == 2
    assert said in served.output
