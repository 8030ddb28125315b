import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from regrain import manifest
from regrain.plan import steps
from regrain.wire import frames
from regrain.wire.codec import pack, unpack
from regrain.wire.segments import create

pytestmark = pytest.mark.process
APPS = Path(__file__).parents[1] / "apps"
TIMEOUT = 60.0


class Zygote:
    """A zygote process, and the front's end of its socket in the test's hand."""

    def __init__(self, target: Path) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(TIMEOUT)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "regrain_runtime", "zygote", "--fd", str(theirs.fileno()), str(target)],
            pass_fds=[theirs.fileno()],
            env=environment,
        )
        theirs.close()
        self.reader: frames.FrameReader[frames.FromZygote] = frames.FrameReader(frames.FromZygote)
        self.inbox: list[frames.FromZygote] = []
        self.pidfds: list[int] = []
        self.leashes: list[int] = []

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()
        for fd in self.pidfds + self.leashes:
            os.close(fd)

    def receive(self) -> frames.FromZygote:
        while not self.inbox:
            chunk, descriptors, _, _ = socket.recv_fds(self.sock, 1 << 16, 4)
            assert chunk, "the zygote ended"
            self.pidfds += descriptors
            self.inbox += self.reader.feed(chunk)
        return self.inbox.pop(0)

    def fork(self, number: int) -> socket.socket:
        """Have a replica forked; return the front's end of its socket."""
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT)
        leash, held = os.pipe()
        self.leashes.append(held)
        boards = [create(4096), create(4096)]
        socket.send_fds(self.sock, [frames.encode(frames.Fork(number))], [leash, theirs.fileno(), *boards])
        theirs.close()
        for fd in (leash, *boards):
            os.close(fd)
        return ours


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], TIMEOUT)[0])


def test_a_zygote_says_hello_with_the_manifest():
    with Zygote(APPS / "maps.py") as zygote:
        hello = zygote.receive()

        assert isinstance(hello, frames.Hello)
        assert manifest.loads(hello.manifest).app == "maps"
        assert hello.unforkable == ""


def test_a_module_that_fails_is_broken_in_one_line(tmp_path):
    path = tmp_path / "failing.py"
    path.write_text("1 / 0\n")

    with Zygote(path) as zygote:
        assert zygote.receive() == frames.Broken(f"{path}:1: ZeroDivisionError: division by zero")
        assert zygote.process.wait(TIMEOUT) == 2


LARGE = """
from regrain import App

app = App("large")

@app.stage()
def same(data: bytes) -> bytes:
    return data

@app.flow
def run(data: bytes = bytes(50 << 20)) -> bytes:
    return same(data)
"""


def test_a_manifest_that_no_frame_holds_is_refused_in_one_line(tmp_path):
    path = tmp_path / "large_one.py"
    path.write_text(LARGE)

    with Zygote(path) as zygote:
        assert "sample and the defaults of the app are too large together" in zygote.receive().detail
        assert zygote.process.wait(TIMEOUT) == 2


def test_a_zygote_that_must_not_fork_says_so_and_ends():
    with Zygote(APPS / "threaded.py") as zygote:
        assert zygote.receive().unforkable == "importing it started 1 thread(s)"
        assert zygote.process.wait(TIMEOUT) == 0


def test_replicas_are_forked_serve_and_are_reaped():
    with Zygote(APPS / "maps.py") as zygote:
        zygote.receive()
        replica = zygote.fork(5)
        forked = zygote.receive()
        assert (forked.id, len(zygote.pidfds)) == (5, 1)

        replica.sendall(frames.encode(frames.Load(("mean",))))
        assert next(frames.FrameReader(frames.FromReplica).feed(replica.recv(1 << 16))).stages == ("mean",)
        replica.sendall(frames.encode(frames.Stop()))

        assert zygote.receive() == frames.Exited(5, forked.pid, 0)
        replica.close()


def test_a_killed_replica_is_reaped_with_its_signal_and_the_next_is_forked():
    with Zygote(APPS / "maps.py") as zygote:
        zygote.receive()
        first = zygote.fork(1)
        forked = zygote.receive()
        os.kill(forked.pid, signal.SIGKILL)

        assert zygote.receive() == frames.Exited(1, forked.pid, -signal.SIGKILL)

        second = zygote.fork(2)
        assert zygote.receive().id == 2
        first.close()
        second.close()


def test_a_replica_keeps_nothing_of_its_siblings_or_the_zygote():
    """Else a death would not be seen: the socket would stay open in another process."""
    with Zygote(APPS / "maps.py") as zygote:
        zygote.receive()
        first = zygote.fork(1)
        forked = zygote.receive()
        second = zygote.fork(2)
        zygote.receive()

        os.kill(forked.pid, signal.SIGKILL)

        assert first.recv(1) == b""
        second.sendall(frames.encode(frames.Load(("mean",))))
        assert second.recv(1 << 16)
        first.close()
        second.close()


@pytest.mark.parametrize("stop", [True, False], ids=["stop", "the front is gone"])
def test_a_zygote_that_ends_takes_its_replicas_with_it(stop):
    with Zygote(APPS / "maps.py") as zygote:
        zygote.receive()
        replica = zygote.fork(1)
        zygote.receive()

        if stop:
            zygote.sock.sendall(frames.encode(frames.Stop()))
        else:
            zygote.sock.shutdown(socket.SHUT_RDWR)

        assert zygote.process.wait(TIMEOUT) == 0
        assert ended(zygote.pidfds[0])
        replica.close()


def test_a_replica_ends_when_its_front_is_gone():
    with Zygote(APPS / "maps.py") as zygote:
        zygote.receive()
        replica = zygote.fork(1)
        forked = zygote.receive()

        replica.close()

        assert zygote.receive() == frames.Exited(1, forked.pid, 0)


def answer_of(replica: socket.socket) -> frames.Done:
    reader: frames.FrameReader[frames.FromReplica] = frames.FrameReader(frames.FromReplica)
    while chunk := replica.recv(1 << 16):
        for frame in reader.feed(chunk):
            if isinstance(frame, frames.Done):
                return frame
    raise AssertionError("the replica ended")


@pytest.mark.parametrize("how", [signal.SIGKILL, 0], ids=["killed", "told to stop"])
def test_stages_leave_work_to_other_processes_and_take_them_with_them(how):
    with Zygote(APPS / "forking.py") as zygote:
        graph = manifest.loads(zygote.receive().manifest).graph
        [step] = steps(graph, (graph.stages,))
        replica = zygote.fork(1)
        forked = zygote.receive()
        unit = frames.Unit("call", 1, 0.0, b"", [frames.Parts([pack(4, None)])])

        for frame in (frames.Load(graph.stages), frames.Define(1, step), frames.Run(1, 1, [unit], [])):
            replica.sendall(frames.encode(frame))
        [gave] = answer_of(replica).outcomes
        outputs = [unpack(parts.values[0], None) for parts in gave.outputs]
        workers = [os.pidfd_open(pid) for pids in outputs if isinstance(pids, list) for pid in pids]
        if how:
            os.kill(forked.pid, how)
        else:
            replica.sendall(frames.encode(frames.Stop()))

        assert 6 in outputs
        assert zygote.receive() == frames.Exited(1, forked.pid, -how)
        assert len(workers) == 2
        assert all(map(ended, workers))
        for pidfd in workers:
            os.close(pidfd)
        replica.close()


def drawn(imports: str, expression: str) -> list[bytes]:
    """Return what two replicas of a process that has run these imports draw."""
    script = (
        f"import os, random\n{imports}\n"
        "from regrain_runtime.zygote import reseed\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        reseed()\n"
        f"        os.write(1, f'{{{expression}}}\\n'.encode())\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, check=True
    ).stdout.split()


@pytest.mark.parametrize(
    ("imports", "expression"),
    [
        pytest.param("", "random.random()", id="Python"),
        pytest.param("import numpy", "numpy.random.random()", id="numpy"),
        pytest.param("import torch", "torch.rand(()).item()", id="torch"),
    ],
)
def test_each_replica_draws_its_own_random_numbers(imports, expression):
    if "torch" in imports:
        pytest.importorskip("torch")

    first, second = drawn(imports, expression)

    assert first != second


def test_torch_draws_what_its_user_has_seeded_it_for():
    pytest.importorskip("torch")

    first, second = drawn("import torch\ntorch.manual_seed(7)", "torch.rand(()).item()")

    assert first == second
