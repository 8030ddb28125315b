"""The rules of memory that processes share, as the stand-in for the driver has them."""

import ctypes
import importlib.util
import mmap

import pytest

from regrain_runtime.gpu.driver import CudaDriver, DriverError, GpuError
from regrain_runtime.gpu.fake import Card, CUresult
from regrain_runtime.gpu.fake_memory import FakeMemory


@pytest.fixture
def cards(tmp_path):
    def another_process():
        return FakeMemory(folder=tmp_path, cards=(Card(memory=1 << 20),))

    return another_process


@pytest.fixture
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("file") / "weights.bin"
    file.write_bytes(b"weights!" * 512)
    with file.open("rb") as opened:
        return mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)


def refused(call, *arguments):
    with pytest.raises(DriverError) as error:
        call(*arguments)
    return error.value.code


def test_what_one_process_fills_another_maps(cards, data):
    owner, reader = CudaDriver(cards()), CudaDriver(cards())
    address = owner.allocate(1, len(data))
    owner.fill(1, address, data)

    mapped = reader.attach(1, owner.export(1, address))

    assert mapped != address
    assert ctypes.string_at(mapped, len(data)) == data[:]
    reader.detach(1, mapped)
    owner.free(1, address)


def test_bytes_have_arrived_before_a_handle_is_given_away(cards, data):
    cuda = cards()
    owner = CudaDriver(cuda)
    address = owner.allocate(1, len(data))
    before = len(cuda.calls)

    owner.fill(1, address, data)

    assert cuda.calls[before:] == ["cuCtxPushCurrent", "cuMemcpyHtoD", "cuCtxSynchronize", "cuCtxPopCurrent"]


def test_no_process_maps_its_own_memory_or_the_same_twice(cards):
    owner, reader = CudaDriver(cards()), CudaDriver(cards())
    handle = owner.export(1, owner.allocate(1, 4096))
    reader.attach(1, handle)

    assert refused(owner.attach, 1, handle) == "CUDA_ERROR_INVALID_CONTEXT"
    assert refused(reader.attach, 1, handle) == "CUDA_ERROR_ALREADY_MAPPED"


def test_room_is_limited_for_all_processes_together(cards):
    owner, other = CudaDriver(cards()), CudaDriver(cards())
    owner.allocate(1, 1 << 20)

    assert refused(other.allocate, 1, 1) == "CUDA_ERROR_OUT_OF_MEMORY"


def test_what_was_freed_is_mapped_by_nobody_and_freed_by_nobody_again(cards):
    owner, reader = CudaDriver(cards()), CudaDriver(cards())
    address = owner.allocate(1, 4096)
    handle = owner.export(1, address)
    owner.free(1, address)

    assert refused(reader.attach, 1, handle) == "CUDA_ERROR_INVALID_VALUE"
    assert refused(owner.free, 1, address) == "CUDA_ERROR_INVALID_VALUE"
    assert refused(reader.detach, 1, address) == "CUDA_ERROR_INVALID_VALUE"


def test_a_handle_of_another_length_is_none(cards):
    with pytest.raises(GpuError, match="has 64 bytes, this one 3"):
        CudaDriver(cards()).attach(1, b"abc")


@pytest.mark.skipif(not importlib.util.find_spec("cuda"), reason="cuda-bindings is not installed")
def test_the_fake_memory_has_no_function_that_the_bindings_lack():
    real = importlib.import_module("cuda.bindings.driver")

    assert [
        name for name in dir(FakeMemory) if name.startswith(("cu", "CUipc")) and not hasattr(real, name)
    ] == []
    assert all(int(getattr(real.CUresult, code.name)) == int(code) for code in CUresult)
