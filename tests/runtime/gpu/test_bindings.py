"""The table over the real cuda-bindings, which call a library that stands in for the driver's."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("libcuda.c")
SCRIPT = """
import ctypes, mmap, sys
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.doctor import devices
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.lease import LeaseBackend

library = ctypes.CDLL("libcuda.so.1")
driver = CudaDriver()
for device in devices(driver):
    print(device.uuid, device.name, device.sms, device.memory, device.compute)
for fine in (False, True):
    green = GreenBackend(driver, fine=fine)
    lane = green.lane(Allowance(part=0.5))
    library.stand_in_described.restype = ctypes.c_uint64
    atoms = library.stand_in_described().bit_count()
    print(green.obstacle() == "", lane.stream, lane.sms, lane.short, green.remainder, atoms, library.stand_in_holds())
    green.close(lane)
    green.stop()
lease = LeaseBackend(driver)
lease.fence(lease.lane(Allowance(part=1.0)))
lease.stop()
context = driver.retain(0)
address = driver.allocate(context, 4096)
with open(sys.argv[1], "rb") as file:
    driver.fill(context, address, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
handle = driver.export(context, address)
mapped = driver.attach(context, handle)
print(len(handle), mapped == address, ctypes.string_at(mapped, 5))
driver.detach(context, mapped)
driver.free(context, address)
driver.release(0)
try:
    driver.end_stream(5)
except GpuError as error:
    print(error)
print(library.stand_in_holds())
"""

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not importlib.util.find_spec("cuda"), reason="cuda-bindings is not installed"),
    pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler"),
]


def test_what_goes_through_the_real_bindings_comes_out_as_it_should(tmp_path):
    built = ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(SOURCE)]
    subprocess.run(built, check=True, timeout=60)
    data = tmp_path / "weights.bin"
    data.write_bytes(b"right".ljust(4096, b"."))
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}

    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(data)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        f"GPU-07070707-0707-0707-0707-070707070707 Stand-in 132 {141 << 30} (9, 0)",
        "True 768 64 2 4 8 3",
        "True 768 66 0 0 33 3",
        "64 True b'right'",
        "the GPU's driver refuses cuStreamDestroy: CUDA_ERROR_INVALID_HANDLE",
        "0",
    ]
