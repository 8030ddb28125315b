import importlib.util
import sys

import pytest

from regrain_runtime.gpu.driver import CudaDriver, DriverError, GpuError
from regrain_runtime.gpu.fake import Card, CUresult, FakeCuda


def test_a_device_is_told_whole():
    device = CudaDriver(
        FakeCuda(cards=(Card(), Card(name="A10", sms=72, memory=24 << 30, compute=(8, 6))))
    ).device(1)

    assert (device.ordinal, device.name, device.sms, device.memory) == (1, "A10", 72, 24 << 30)
    assert device.compute == (8, 6)
    assert device.uuid == "GPU-01010101-0101-0101-0101-010101010101"


def test_the_driver_is_initialised_once():
    cuda = FakeCuda()
    driver = CudaDriver(cuda)

    driver.devices()
    driver.device(0)

    assert cuda.calls.count("cuInit") == 1


def test_a_driver_that_could_not_be_initialised_is_tried_again():
    cuda = FakeCuda(refuses={"cuInit": (1, CUresult.CUDA_ERROR_OUT_OF_MEMORY)})
    driver = CudaDriver(cuda)

    with pytest.raises(DriverError, match="cuInit"):
        driver.devices()

    assert driver.devices() == 1


def test_a_refusal_names_the_call_and_the_drivers_code():
    cuda = FakeCuda(refuses={"cuDevicePrimaryCtxRetain": (1, CUresult.CUDA_ERROR_OUT_OF_MEMORY)})

    with pytest.raises(DriverError) as refused:
        CudaDriver(cuda).retain(0)

    assert str(refused.value) == "the GPU's driver refuses cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY"


def test_a_context_is_taken_away_again_also_where_waiting_for_it_fails():
    cuda = FakeCuda(refuses={"cuCtxSynchronize": (1, CUresult.CUDA_ERROR_INVALID_VALUE)})
    driver = CudaDriver(cuda)

    with pytest.raises(DriverError, match="cuCtxSynchronize"):
        driver.finish(driver.retain(0))

    assert cuda.calls[-3:] == ["cuCtxPushCurrent", "cuCtxSynchronize", "cuCtxPopCurrent"]


def test_bindings_without_a_function_are_too_old():
    with pytest.raises(GpuError, match=r"knows no cuDriverGetVersion: 12\.9 or later"):
        CudaDriver(object()).version()


def test_a_library_without_a_function_is_no_driver_for_it():
    class Old:
        def cuDriverGetVersion(self):  # noqa: N802
            raise RuntimeError('Function "cuDriverGetVersion" not found')

    with pytest.raises(GpuError, match='no NVIDIA driver that has cuDriverGetVersion: Function "cu'):
        CudaDriver(Old()).version()


def test_an_answer_that_is_no_number_is_not_taken_for_one():
    class Odd(FakeCuda):
        def cuDriverGetVersion(self):  # noqa: N802
            return CUresult.CUDA_SUCCESS, object()

    with pytest.raises(GpuError, match="where a number was expected"):
        CudaDriver(Odd()).version()


def test_without_the_bindings_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)

    with pytest.raises(GpuError, match=r"pip install 'regrain\[gpu\]'"):
        CudaDriver().devices()


@pytest.mark.skipif(not importlib.util.find_spec("cuda"), reason="cuda-bindings is not installed")
def test_the_fake_has_no_function_or_constant_that_the_bindings_lack():
    real = importlib.import_module("cuda.bindings.driver")
    functions = [name for name in dir(FakeCuda) if name.startswith("cu")]

    assert [name for name in functions if not callable(getattr(real, name, None))] == []
    for kind in (FakeCuda.CUdevResourceType, FakeCuda.CUdevice_attribute, CUresult):
        for constant in kind:
            assert int(getattr(getattr(real, kind.__name__), constant.name)) == int(constant)
