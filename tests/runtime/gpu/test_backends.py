"""What every backend must keep, each as far as it claims it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.capability import CAPABILITIES
from regrain_runtime.gpu.choose import BACKENDS, backend_named
from regrain_runtime.gpu.doctor import rows
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake import CUresult, FakeControl, FakeCuda, FakeNvml, uuid_of
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.gpu.mig import MigBackend
from regrain_runtime.gpu.mps import MpsBackend
from regrain_runtime.gpu.nvml import Instance

GIB = 1 << 30
ROOT = Path(__file__).parents[3]
SLICES = tuple(
    Instance(
        uuid=f"MIG-{slices}",
        gpu="GPU-0",
        name="MIG",
        slices=slices,
        of=7,
        sms=16 * slices,
        memory=18 * GIB * slices,
    )
    for slices in (1, 2, 4)
)
QUARTER, HALF = Allowance(part=0.25, memory=4 * GIB), Allowance(part=0.5, memory=8 * GIB)
MAKE = {
    "lease": lambda cuda: LeaseBackend(CudaDriver(cuda), uuid=uuid_of(0)),
    "green": lambda cuda: GreenBackend(CudaDriver(cuda), uuid=uuid_of(0)),
    "mps": lambda cuda: MpsBackend(
        CudaDriver(cuda), FakeControl(servers={9: [os.getpid()]}), uuid=uuid_of(0)
    ),
    "mig": lambda cuda: MigBackend(CudaDriver(cuda), FakeNvml(SLICES)),
}
BARE = {
    "lease": MAKE["lease"],
    "green": MAKE["green"],
    "mps": lambda cuda: MpsBackend(CudaDriver(cuda), FakeControl(running=False)),
    "mig": lambda cuda: MigBackend(CudaDriver(cuda), FakeNvml()),
}


@pytest.fixture(params=MAKE)
def name(request):
    return request.param


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def subject(name, cuda):
    made = MAKE[name](cuda)
    yield made
    made.stop()


def test_every_backend_has_a_record_and_every_record_a_backend():
    carried_out = {MAKE[name](FakeCuda()).capability.name for name in MAKE}

    assert carried_out | {"emulated"} == {capability.name for capability in CAPABILITIES}


def test_backends_are_chosen_by_name():
    named = {name: backend_named(name, CudaDriver(FakeCuda())).capability.name for name in BACKENDS}

    assert named == {name: name for name in MAKE}
    with pytest.raises(
        SpecError, match="no GPU backend 'magic' that runs in a replica, there are lease, green, mps, mig"
    ):
        backend_named("magic", CudaDriver(FakeCuda()))


def test_the_documented_claims_are_the_records():
    text = (ROOT / "docs/gpu-backends.md").read_text()
    table = {
        cells[1]: cells[2:-1]
        for line in text.splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) == 8
    }
    word = {True: "yes", False: "no"}

    assert table[""] == [f"`{record.name}`" for record in CAPABILITIES]
    for row, claim in {
        "concurrent": "concurrent",
        "disjoint SMs": "disjoint",
        "hard memory limit": "hard_memory",
        "faults isolated": "fault_isolated",
        "bandwidth isolated": "bandwidth_isolated",
    }.items():
        assert table[row] == [word[getattr(record, claim)] for record in CAPABILITIES], row
    assert table["resize"] == [record.resize for record in CAPABILITIES]
    reserves = [cell.replace("if all work is in lanes", "in lanes") for cell in table["reserves"]]
    assert reserves == [record.reserves for record in CAPABILITIES]


def test_none_is_called_verified_without_figures_of_a_gpu():
    measured = (ROOT / "benchmarks/results/gpu.jsonl").exists()

    assert measured or {capability.verified for capability in CAPABILITIES} == {""}


def test_where_a_gpu_is_nothing_is_in_the_way_and_asking_holds_nothing(subject, cuda):
    assert subject.obstacle() == ""
    assert cuda.holds == 0


def test_a_bare_machine_is_told_in_one_sentence(name):
    bare = BARE[name](FakeCuda(cards=()))

    reason = bare.obstacle()
    assert reason
    assert "\n" not in reason
    with pytest.raises(GpuError):
        bare.lane(QUARTER)


def test_the_environment_is_known_without_a_call_to_the_driver(subject, cuda):
    variables = subject.environment(QUARTER)

    assert all(isinstance(value, str) and value for value in variables.values())
    assert "CUDA_VISIBLE_DEVICES" in variables
    assert cuda.calls == []


def test_a_lane_has_no_more_than_its_share(subject):
    lane = subject.lane(QUARTER)

    if subject.capability.concurrent and subject.capability.name == "green":
        assert lane.sms + lane.short == QUARTER.sms(132)
    assert 1 <= lane.sms <= 132
    assert lane.memory >= QUARTER.memory
    assert lane.device_memory == 141 * GIB


def test_lanes_of_one_process_are_disjoint_where_that_is_claimed(subject, cuda):
    if not subject.capability.disjoint or subject.capability.resize != "live":
        pytest.skip("one lane a process: what is disjoint are the processes")

    first, second = subject.lane(QUARTER), subject.lane(HALF)

    assert not cuda.seen(first.stream) & cuda.seen(second.stream)
    assert len(cuda.seen(first.stream)) == first.sms


def test_memory_is_limited_by_the_driver_where_that_is_claimed(name, subject):
    said = subject.environment(QUARTER)

    by_driver = "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" in said or said["CUDA_VISIBLE_DEVICES"].startswith("MIG-")
    assert subject.capability.hard_memory == by_driver


def test_a_share_changes_as_claimed(subject, cuda):
    lane = subject.lane(QUARTER)

    if subject.capability.resize != "live":
        with pytest.raises(GpuError, match="start another replica"):
            subject.resize(lane, HALF)
        subject.fence(lane)
    else:
        assert subject.resize(lane, HALF).sms > lane.sms


def test_a_lane_is_waited_for_before_it_is_given_back(subject, cuda):
    lane = subject.lane(QUARTER)
    begun = len(cuda.calls)

    subject.close(lane)

    waits = {"cuCtxSynchronize", "cuStreamSynchronize"}
    after = cuda.calls[begun:]
    ends = [place for place, call in enumerate(after) if "Destroy" in call]
    waited = next(place for place, call in enumerate(after) if call in waits)
    assert all(waited < end for end in ends)


def test_a_failed_kernel_is_told_when_the_lane_is_fenced(subject, cuda):
    lane = subject.lane(QUARTER)
    failing = (1, CUresult.CUDA_ERROR_INVALID_VALUE)
    cuda.refuses = {"cuCtxSynchronize": failing, "cuStreamSynchronize": failing}

    with pytest.raises(GpuError, match="Synchronize: CUDA_ERROR_INVALID_VALUE"):
        subject.fence(lane)


def test_stopping_gives_everything_back_and_only_once(subject, cuda):
    subject.lane(QUARTER)
    assert cuda.holds > 0

    subject.stop()
    calls = list(cuda.calls)
    subject.stop()

    assert cuda.holds == 0
    assert cuda.calls == calls


def test_a_lane_of_a_stopped_backend_is_refused(subject):
    lane = subject.lane(QUARTER)
    subject.stop()

    with pytest.raises(GpuError, match="the lane is closed"):
        subject.fence(lane)


def test_whatever_call_fails_nothing_is_held_after_the_end(name):
    sound = FakeCuda()
    MAKE[name](sound).lane(QUARTER)
    for call in dict.fromkeys(sound.calls):
        for turn in range(1, sound.calls.count(call) + 1):
            cuda = FakeCuda(refuses={call: (turn, CUresult.CUDA_ERROR_OUT_OF_MEMORY)})
            subject = MAKE[name](cuda)

            with pytest.raises(GpuError):
                subject.lane(QUARTER)
            subject.stop()

            assert cuda.holds == 0, f"{call}, call {turn}"


@pytest.mark.parametrize("part", [0.0, -0.1, 1.01, float("nan")])
def test_a_share_that_is_no_part_of_a_gpu_is_refused(part):
    with pytest.raises(SpecError, match=r"in \(0, 1\]"):
        Allowance(part=part)


def test_a_share_of_negative_memory_is_refused():
    with pytest.raises(SpecError, match="0 bytes or more"):
        Allowance(part=0.5, memory=-1)


def test_a_share_below_the_least_is_refused_naming_the_least(name, cuda, subject):
    tiny = Allowance(part=0.001)

    if name == "mig":
        assert subject.environment(tiny) == {"CUDA_VISIBLE_DEVICES": "MIG-1"}
    elif name == "mps":
        with pytest.raises(SpecError, match=r"0\.01 is the least"):
            subject.environment(tiny)
    else:
        with pytest.raises(SpecError, match="132 SMs or more"):
            subject.lane(tiny)


@pytest.mark.process
def test_a_process_that_is_ended_ends(subject):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    pidfd = os.pidfd_open(child.pid)

    subject.end(child.pid, pidfd)

    assert child.wait(60) == -signal.SIGKILL
    os.close(pidfd)
    child.stdin.close()


def test_the_rows_of_doctor_are_records_and_what_is_in_the_way():
    found = rows([MAKE["lease"](FakeCuda()), BARE["mig"](FakeCuda(cards=()))])

    assert [(row.capability.name, bool(row.obstacle)) for row in found] == [
        ("lease", False),
        ("mig", True),
        ("emulated", False),
    ]
