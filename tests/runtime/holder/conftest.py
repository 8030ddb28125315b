"""A device for processes that share weights by its holder; its memory is files that all of them map."""

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.fake_memory import FakeMemory
from regrain_runtime.holder.lender import Lender

HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from regrain_runtime.gpu.driver import CudaDriver
    from regrain_runtime.gpu.fake_memory import FakeMemory
    from regrain_runtime.holder.server import start

    folder, grace, path = sys.argv[1:]
    sys.exit(start(Path(path), CudaDriver(FakeMemory(folder=Path(folder))), grace=float(grace)))
    """
)
REPLICA = textwrap.dedent(
    """
    import ctypes, sys
    from pathlib import Path
    from regrain_runtime.gpu.driver import CudaDriver, GpuError
    from regrain_runtime.gpu.fake_memory import FakeMemory
    from regrain_runtime.holder.lender import Lender

    folder, grace, holder, path, file = sys.argv[1:]
    memory = CudaDriver(FakeMemory(folder=Path(folder)))
    command = (sys.executable, "-c", holder, folder, grace)
    lender = Lender(Path(path), memory, command=command)
    loan = lender.borrow("net", Path(file).stat().st_size, lambda: Path(file))
    print(loan.epoch, ctypes.string_at(loan.address, 8).decode(), flush=True)
    for line in sys.stdin:
        if line == "write\\n":
            ctypes.memmove(loan.address, b"WRITTEN.", 8)
        try:
            lender.check()
            print("well", flush=True)
        except GpuError as error:
            print(type(error).__name__, flush=True)
    """
)
SERVING = textwrap.dedent(
    """
    import ctypes, gc, sys, time
    from pathlib import Path
    import numpy as np
    from regrain import App, torch
    from regrain.execute import Executor
    from regrain.weights.device import lending
    from regrain_runtime.gpu.driver import CudaDriver
    from regrain_runtime.gpu.fake_memory import FakeMemory
    from regrain_runtime.holder.lender import Lender

    folder, holder, path = sys.argv[1:]

    class Lending(Lender):
        "The stand-in's memory lies where torch takes it for the CPU's."

        def borrow(self, key, nbytes, file):
            loan = super().borrow(key, nbytes, file)
            lying = type("Lying", (), {"loan": loan})()
            lying.__array_interface__ = {**loan.__cuda_array_interface__, "version": 3}
            return np.asarray(lying)

    def layers():
        from torch import nn
        return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.Linear(512, 256))

    class Reader:
        def __init__(self):
            self.net = torch(layers, seed=1, device="cpu")
            print(float(self.net(np.full((2, 512), 0.5, np.float32)).sum()), flush=True)

        def __call__(self, x: list) -> list:
            return x

    app = App("reader")
    read = app.stage()(Reader)

    @app.flow
    def flow(x: list) -> list:
        return read(x)

    executor = Executor(app, clock=time.monotonic)
    memory = FakeMemory(folder=Path(folder))
    lender = Lending(Path(path), CudaDriver(memory), command=(sys.executable, "-c", holder, folder, "1.0"))
    lender.device = "cpu"
    with lending(lender):
        executor.load(["read"])
    print(len(memory.mapped), flush=True)
    sys.stdin.readline()
    executor.unload(["read"])
    gc.collect()
    print(len(memory.mapped), flush=True)
    sys.stdin.readline()
    """
)


class Node:
    """A device, the processes on it, and a file of weights with `content`, of `size` bytes."""

    size = 1 << 16
    content = b"weights." * (size // 8)

    def __init__(self, folder, stack):
        self.card = folder / "card"
        self.card.mkdir()
        self.path = folder / "gpu0.weights"
        self.file = folder / "weights.bin"
        self.file.write_bytes(self.content)
        self._stack = stack

    def command(self, grace=30.0):
        return (sys.executable, "-c", HOLDER, str(self.card), str(grace))

    def lender(self, grace=30.0):
        lender = Lender(self.path, CudaDriver(FakeMemory(folder=self.card)), command=self.command(grace))
        self._stack.callback(lender.close)
        return lender

    def borrow(self, lender, key="net"):
        return lender.borrow(key, self.size, lambda: self.file)

    def replica(self, grace=30.0):
        return self.spawn(REPLICA, str(self.card), str(grace), HOLDER, str(self.path), str(self.file))

    def serving(self):
        return self.spawn(SERVING, str(self.card), HOLDER, str(self.path))

    def spawn(self, script, *words):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._stack.callback(_end, process)
        return process

    def holders(self):
        """Return the holders that live; each holds the lock or waits for it to be refused."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and entry.name != str(os.getpid()):
                words = _words(entry.name)
                if words[-1:] == [str(self.path).encode()] and HOLDER.encode() in words:
                    found.append(int(entry.name))
        return found

    def allocations(self):
        return list(self.card.iterdir())

    @staticmethod
    def kill(process):
        """End a process, and wait until it has let go of all that it had."""
        pidfd = os.pidfd_open(process)
        try:
            os.kill(process, signal.SIGKILL)
            assert select.select([pidfd], [], [], 60)[0]
        finally:
            os.close(pidfd)


def _end(process):
    process.stdin.close()
    process.kill()
    process.wait()
    process.stdout.close()


def _words(process):
    """Return the command line of a process; nothing of one that has ended, reaped or not."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []


@pytest.fixture
def node(tmp_path):
    with contextlib.ExitStack() as stack:
        node = Node(tmp_path, stack)
        try:
            yield node
        finally:
            gc.collect()
            stack.close()
            for pid in node.holders():
                node.kill(pid)
