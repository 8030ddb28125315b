import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.capability import LEASE, MPS
from regrain_runtime.gpu.choose import backend_for_replica
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake import FakeControl, FakeCuda, uuid_of
from regrain_runtime.gpu.mps import PAUSE, Daemon, MpsBackend

HALF = Allowance(part=0.5, memory=4 << 30)
PIPES = Path("/run/regrain/mps")
DAEMON = """#!{python}
import os, sys, time
command = sys.stdin.readline().split()
if command[0] == "get_server_list": print(os.environ["CUDA_MPS_PIPE_DIRECTORY"])
elif command[0] == "hang": time.sleep(60)
elif command[0] == "quit": print("Cannot find MPS control daemon process")
else: sys.exit("Cannot find MPS control daemon process")
"""


IDLE = """
import os, signal
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver
from regrain_runtime.gpu.fake import CUresult, FakeControl, FakeCuda
from regrain_runtime.gpu.mps import MpsBackend

control = FakeControl(servers={8: [], 9: [os.getpid()]}, states={8: "FAULT"})
cuda = FakeCuda()
MpsBackend(CudaDriver(cuda), control, look=0.01).lane(Allowance(part=0.5))
control.states[9] = "FAULT"
cuda.refuses = {"cuCtxSynchronize": (1, CUresult.CUDA_ERROR_INVALID_CONTEXT)}
signal.pause()
"""


class Clock:
    """A clock that goes on by sleeping, and does something else meanwhile."""

    def __init__(self, meanwhile=lambda: None):
        self.now = 0.0
        self.slept = []
        self.meanwhile = meanwhile

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        self.meanwhile()


def mps(control, clock=None, **settings):
    clock = clock or Clock()
    return MpsBackend(CudaDriver(FakeCuda()), control, clock=lambda: clock.now, sleep=clock.sleep, **settings)


def test_a_share_is_said_in_the_services_variables():
    assert mps(FakeControl(pipes=PIPES), uuid=uuid_of(0)).environment(HALF) == {
        "CUDA_VISIBLE_DEVICES": uuid_of(0),
        "CUDA_MPS_PIPE_DIRECTORY": str(PIPES),
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50",
        "CUDA_MPS_CLIENT_PRIORITY": "0",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=4096M",
    }


@pytest.mark.parametrize(
    ("part", "percentage"), [(1.0, "100"), (0.29, "29"), (0.999, "99"), (1 / 3, "33"), (0.01, "1")]
)
def test_per_cent_are_rounded_down(part, percentage):
    assert (
        mps(FakeControl()).environment(Allowance(part=part))["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"]
        == percentage
    )


@pytest.mark.parametrize(("memory", "limit"), [(1 << 20, "0=1M"), ((3 << 20) - 1, "0=2M"), (0, None)])
def test_memory_is_limited_in_whole_mib(memory, limit):
    said = mps(FakeControl()).environment(Allowance(part=1.0, memory=memory))

    assert said.get("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT") == limit


def test_memory_below_a_mib_is_refused():
    with pytest.raises(SpecError, match="whole MiB, asked for 1000 bytes"):
        mps(FakeControl()).environment(Allowance(part=1.0, memory=1000))


@pytest.mark.parametrize(("priority", "said"), [(-1, "0"), (0, "0"), (1, "1"), (9, "1")])
def test_the_service_knows_normal_and_below_normal(priority, said):
    share = Allowance(part=0.5, priority=priority)

    assert mps(FakeControl()).environment(share)["CUDA_MPS_CLIENT_PRIORITY"] == said


def test_a_newcomer_waits_until_the_server_has_left_its_fault():
    control = FakeControl(servers={9: [40]}, states={9: "FAULT"})

    def recover():
        if len(clock.slept) == 3:
            control.states[9] = "ACTIVE"

    clock = Clock(recover)
    mps(control, clock).environment(HALF)

    assert clock.slept == [PAUSE] * 3


def test_a_newcomer_does_not_wait_for_ever():
    control = FakeControl(servers={8: [], 9: [40]}, states={9: "FAULT"})
    clock = Clock()

    with pytest.raises(GpuError, match="MPS server 9 stayed in FAULT for 2 s"):
        mps(control, clock, patience=2.0).environment(HALF)

    assert 2.0 <= clock.now < 2.0 + 2 * PAUSE


def test_a_fault_is_told_with_the_clients_that_must_end():
    control = FakeControl(servers={9: [40, 41]}, states={9: "FAULT"})

    assert (
        mps(control).obstacle()
        == "MPS server 9 is in FAULT: it takes nobody until its clients 40 41 have ended"
    )


def test_a_daemon_without_a_server_is_sound_because_the_first_client_starts_one():
    assert mps(FakeControl()).obstacle() == ""


def test_a_replica_is_demoted_to_turns_where_the_daemon_has_ended(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))

    chosen = backend_for_replica("mps", CudaDriver(FakeCuda()), uuid=uuid_of(0))

    assert chosen.capability == LEASE
    assert chosen.environment(HALF) == {"CUDA_VISIBLE_DEVICES": uuid_of(0)}
    assert "demoting this replica from mps to lease" in caplog.text


@pytest.mark.process
def test_a_replica_stays_with_a_daemon_that_answers(daemon, monkeypatch):
    monkeypatch.setenv("PATH", f"{daemon.folder}:{os.environ['PATH']}")

    assert backend_for_replica("mps", CudaDriver(FakeCuda())).capability == MPS


def killed(monkeypatch):
    done = []
    monkeypatch.setattr("signal.pidfd_send_signal", lambda pidfd, _: done.append(pidfd))
    return done


def test_a_client_is_terminated_by_the_daemon_before_it_is_killed(monkeypatch):
    control = FakeControl(servers={8: [30], 9: [40, 41]})
    asked_before = []
    monkeypatch.setattr("signal.pidfd_send_signal", lambda *_: asked_before.append(control.asked[-1]))

    mps(control).end(41, 7)

    assert asked_before == ["terminate_client 9 41"]
    assert control.servers == {8: [30], 9: [40]}


def test_a_process_that_is_no_client_is_only_killed(monkeypatch):
    control, done = FakeControl(servers={9: [40]}), killed(monkeypatch)

    mps(control).end(41, 7)

    assert done == [7]
    assert not [command for command in control.asked if command.startswith("terminate")]


def test_a_process_is_killed_also_where_the_daemon_is_gone(monkeypatch):
    done = killed(monkeypatch)

    with pytest.raises(GpuError, match="Cannot find MPS control daemon"):
        mps(FakeControl(running=False)).end(41, 7)

    assert done == [7]


def test_a_client_sees_as_many_sms_as_it_may_use():
    """Under the service the driver's count is the process's part, which nobody else knows."""
    backend = mps(FakeControl(servers={8: [], 9: [os.getpid()]}))
    lane = backend.lane(HALF)
    backend.stop()

    assert (lane.stream, lane.sms, lane.short, lane.memory) == (0, 132, 0, 4 << 30)


@pytest.mark.process
def test_a_client_that_has_nothing_to_do_ends_once_its_server_is_in_fault():
    ended = subprocess.run(
        [sys.executable, "-c", IDLE], capture_output=True, text=True, timeout=60, check=False
    )

    assert (ended.returncode, ended.stderr) == (1, "MPS server 9 is in FAULT, so this process ends\n")


def test_a_client_of_another_gpu_than_the_faulty_one_goes_on():
    control = FakeControl(servers={9: [os.getpid()]}, states={9: "FAULT"})
    backend = mps(control, look=0.01)
    backend.lane(HALF)

    asked(control, 3)

    backend.stop()


@pytest.mark.parametrize("fault", [GpuError, KeyError, UnicodeDecodeError])
def test_a_look_that_fails_is_not_the_last(fault, caplog):
    arguments = ("utf-8", b"", 0, 1, "odd") if fault is UnicodeDecodeError else ("odd",)

    class Odd(FakeControl):
        def ask(self, command):
            said = super().ask(command)
            if command.startswith("get_server_status") and len(self.asked) < 6:
                raise fault(*arguments)
            return said

    control = Odd(servers={9: [os.getpid()]})
    backend = mps(control, look=0.01)
    backend.lane(HALF)

    asked(control, 6)

    backend.stop()
    assert ("cannot look at MPS server 9" in caplog.text) == (fault is not GpuError)


def asked(control, times):
    """Wait until a daemon was asked so many times more."""
    before, until = len(control.asked), time.monotonic() + 60
    while len(control.asked) < before + times:
        assert time.monotonic() < until, "it is asked no more"
        time.sleep(0.01)


def test_a_client_goes_on_looking_while_the_daemon_does_not_answer_and_until_it_stops():
    control = FakeControl(servers={9: [os.getpid()]})
    backend, before = mps(control, look=0.01), set(threading.enumerate())
    backend.lane(HALF)
    (watching,) = set(threading.enumerate()) - before

    asked(control, 2)
    control.running = False
    asked(control, 2)
    backend.stop()

    watching.join(60)
    assert not watching.is_alive()


@pytest.mark.parametrize(
    "control",
    [
        pytest.param(FakeControl(servers={9: [40]}), id="not a client"),
        pytest.param(FakeControl(running=False), id="no daemon"),
    ],
)
def test_a_process_that_would_have_the_whole_gpu_gets_no_lane(control):
    cuda = FakeCuda()

    with pytest.raises(GpuError, match=r"would have the whole GPU|Cannot find"):
        MpsBackend(CudaDriver(cuda), control).lane(HALF)

    assert cuda.holds == 0


@pytest.mark.parametrize(
    ("said", "folder"),
    [("/run/mps", "/run/mps"), ("", "/tmp/nvidia-mps"), (None, "/tmp/nvidia-mps")],
    ids=["said", "empty", "unset"],
)
def test_the_daemon_is_looked_for_where_cuda_does(monkeypatch, said, folder):
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    if said is not None:
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", said)

    assert Daemon().pipes == Path(folder)


def test_a_folder_whose_socket_has_no_room_for_its_path_is_refused():
    with pytest.raises(GpuError, match="folder has at most 99 bytes, was /xx"):
        Daemon(Path("/" + "x" * 99)).ask("get_server_list")


@pytest.fixture
def daemon(tmp_path):
    binary = tmp_path / "nvidia-cuda-mps-control"
    binary.write_text(DAEMON.format(python=sys.executable))
    binary.chmod(0o755)

    def make(**settings):
        return Daemon(tmp_path / "pipes", binary=str(binary), **settings)

    make.folder = tmp_path
    return make


@pytest.mark.process
def test_the_daemon_is_asked_by_its_command_in_its_folder(daemon, tmp_path):
    assert daemon().ask("get_server_list") == str(tmp_path / "pipes")
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


@pytest.mark.process
@pytest.mark.parametrize(
    "command", [pytest.param("ps", id="by its exit code"), pytest.param("quit", id="in words")]
)
def test_a_daemon_that_is_not_there_is_told(daemon, command):
    with pytest.raises(GpuError, match=rf"refuses '{command}': Cannot find MPS control daemon process$"):
        daemon().ask(command)


@pytest.mark.process
def test_a_daemon_that_hangs_is_not_waited_for(daemon):
    with pytest.raises(GpuError, match=r"did not answer 'hang' in 0\.5 s"):
        daemon(timeout=0.5).ask("hang")


def test_where_there_is_no_daemon_its_command_is_named():
    with pytest.raises(
        GpuError, match="no-such-command cannot be run: No such file or directory: it comes with"
    ):
        Daemon(binary="no-such-command").ask("ps")
