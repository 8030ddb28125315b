import importlib.util
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake import Card, FakeCuda, FakeNvml
from regrain_runtime.gpu.mig import MigBackend, smallest
from regrain_runtime.gpu.nvml import Instance, NvmlLibrary

GIB = 1 << 30


def cut(slices, memory=None, of=7, number=0, *, whole=True):
    memory = 18 * slices if memory is None else memory
    return Instance(
        uuid=f"MIG-{slices}-{number}",
        gpu="GPU-0",
        name=f"MIG {slices}g",
        slices=slices,
        of=of,
        sms=16 * slices,
        memory=memory * GIB,
        whole=whole,
    )


def mig(*instances, uuid=""):
    return MigBackend(CudaDriver(FakeCuda()), FakeNvml(instances), uuid=uuid)


instances = st.builds(cut, st.integers(1, 7), st.integers(1, 140), number=st.integers(0, 99))


@given(st.lists(instances, max_size=8), st.floats(0.01, 1.0), st.integers(0, 140))
def test_the_smallest_instance_that_covers_the_share_is_chosen(all_of_them, part, gib):
    share = Allowance(part=part, memory=gib * GIB)
    covering = [each for each in all_of_them if each.slices / 7 >= part and each.memory >= share.memory]

    chosen = smallest(all_of_them, share)

    assert (chosen is None) == (not covering)
    assert chosen is None or chosen.slices == min(each.slices for each in covering)


def test_a_share_of_exactly_its_slices_is_covered():
    assert smallest([cut(3)], Allowance(part=3 / 7)) == cut(3)


def test_the_replica_is_shown_one_instance():
    assert mig(cut(1), cut(2), cut(4)).environment(Allowance(part=0.25)) == {
        "CUDA_VISIBLE_DEVICES": "MIG-2-0"
    }


def test_the_instance_that_a_replica_was_given_is_shown_to_it():
    assert mig(cut(2), cut(4), uuid="MIG-4-0").environment(Allowance(part=1.0)) == {
        "CUDA_VISIBLE_DEVICES": "MIG-4-0"
    }


def test_an_instance_that_was_given_goes_on_for_what_it_has_room_for():
    cuda = FakeCuda(cards=(Card(name="H200 MIG 2g.35gb", sms=32, memory=35 * GIB),))
    backend = MigBackend(CudaDriver(cuda), FakeNvml(), uuid="MIG-2-0")
    lane = backend.lane(Allowance(part=1.0, memory=GIB))

    assert backend.resize(lane, Allowance(part=1.0, memory=35 * GIB)) == lane
    with pytest.raises(GpuError, match="keeps its size"):
        backend.resize(lane, Allowance(part=1.0, memory=36 * GIB))


def test_a_share_that_none_covers_is_refused_naming_what_there_is():
    with pytest.raises(SpecError, match=r"there are \(share, bytes\): \(0\.143, \d+\), \(0\.286, \d+\)"):
        mig(cut(1), cut(2), cut(2, number=1)).environment(Allowance(part=0.5))


def test_a_gpu_that_is_not_cut_is_left_alone():
    with pytest.raises(GpuError, match="nvidia-smi mig does that, as root"):
        mig().environment(Allowance(part=0.5))


def test_a_part_of_a_gpu_instance_is_left_alone():
    part = cut(1, whole=False)

    assert mig(part, cut(2)).obstacle() == ""
    assert mig(part, cut(2)).environment(Allowance(part=0.1)) == {"CUDA_VISIBLE_DEVICES": "MIG-2-0"}
    assert mig(part).obstacle().startswith("every MIG instance here is a part of a GPU instance")
    with pytest.raises(GpuError, match="is a part of a GPU instance, and shares its memory"):
        mig(part).environment(Allowance(part=0.1))


def test_the_instance_is_all_that_its_replica_sees():
    cuda = FakeCuda(cards=(Card(name="H200 MIG 2g.35gb", sms=32, memory=35 * GIB),))
    lane = MigBackend(CudaDriver(cuda), FakeNvml()).lane(Allowance(part=0.25, memory=GIB))

    assert (lane.sms, lane.memory, lane.device_memory) == (32, 35 * GIB, 35 * GIB)


class NotSupported(Exception):  # noqa: N818 - stands for pynvml's NVMLError
    pass


class Library:
    """pynvml on a machine with one GPU that is cut and one that cannot be."""

    NVMLError = NotSupported

    def __init__(self, failing="", gpu_slices=2):
        self.failing = failing
        self.gpu_slices = gpu_slices
        self.open = 0

    def nvmlInit(self):  # noqa: N802
        if self.failing == "nvmlInit":
            raise NotSupported("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return f"GPU-{index}"

    def nvmlDeviceGetMigMode(self, handle):  # noqa: N802
        if handle == "GPU-0":
            raise NotSupported("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):  # noqa: N802
        assert handle == "GPU-1"
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):  # noqa: N802
        if index not in {0, 3}:
            raise NotSupported("Not Found")
        return f"MIG-{index}"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return handle

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return f"H200 {handle}"

    def nvmlDeviceGetAttributes(self, handle):  # noqa: N802
        if self.failing == "nvmlDeviceGetAttributes":
            raise NotSupported("Unknown Error")
        return SimpleNamespace(
            gpuInstanceSliceCount=self.gpu_slices,
            computeInstanceSliceCount=2,
            multiprocessorCount=32,
            memorySizeMB=1024,
        )


def test_instances_are_found_on_the_gpus_that_are_cut():
    library = Library()

    found = NvmlLibrary(library).instances()

    expected = Instance(uuid="MIG-0", gpu="GPU-1", name="H200 MIG-0", slices=2, of=7, sms=32, memory=GIB)
    assert [each.uuid for each in found] == ["MIG-0", "MIG-3"]
    assert found[0] == expected
    assert library.open == 0


def test_instances_with_fewer_slices_than_their_gpu_instance_are_parts_of_it():
    found = NvmlLibrary(Library(gpu_slices=3)).instances()

    assert [(each.uuid, each.whole) for each in found] == [("MIG-0", False), ("MIG-3", False)]


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetAttributes"])
def test_a_refusal_names_the_call_and_leaves_no_session_open(call):
    library = Library(call)

    with pytest.raises(GpuError, match=f"NVML refuses {call}"):
        NvmlLibrary(library).instances()

    assert library.open == 0


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)

    with pytest.raises(GpuError, match=r"pip install 'regrain\[gpu\]'"):
        NvmlLibrary().instances()


@pytest.mark.skipif(not importlib.util.find_spec("pynvml"), reason="nvidia-ml-py is not installed")
def test_the_stand_in_has_no_function_that_the_library_lacks():
    real = importlib.import_module("pynvml")

    assert [name for name in dir(Library) if name.startswith("nvml") and not hasattr(real, name)] == []
