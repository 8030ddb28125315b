import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
from pathlib import Path

import psutil
import pytest

from regrain.errors import LoadError
from regrain.wire import frames
from regrain.wire.segments import create
from regrain_watchdog.front.zygote import DiedError, Zygote

pytestmark = pytest.mark.process
APPS = Path(__file__).parents[2] / "apps"
TIMEOUT = 60.0


class Told:
    """What a zygote tells, the pidfds that it hands over, and the leashes of its replicas."""

    def __init__(self) -> None:
        self.died: list[str] = []
        self.exited: list[tuple[int, int]] = []
        self.born: dict[int, tuple[int, int]] = {}
        self.leashes: list[int] = []

    async def until(self, claim) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not claim():
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def started(target: Path):
    told = Told()
    zygote = Zygote(
        str(target), died=told.died.append, exited=lambda number, status: told.exited.append((number, status))
    )
    try:
        yield zygote, told
    finally:
        await asyncio.wait_for(zygote.stop(), TIMEOUT)
        for fd in [pidfd for _, pidfd in told.born.values()] + told.leashes:
            os.close(fd)


def spawn(zygote: Zygote, told: Told, number: int) -> socket.socket:
    """Start a replica; return the front's end of its socket."""
    ours, theirs = socket.socketpair()
    leash, held = os.pipe()
    told.leashes.append(held)
    boards = [create(4096), create(4096)]
    zygote.spawn(
        number,
        [leash, theirs.fileno(), *boards],
        lambda pid, pidfd: told.born.__setitem__(number, (pid, pidfd)),
    )
    theirs.close()
    for fd in (leash, *boards):
        os.close(fd)
    return ours


def test_a_zygote_brings_the_manifest():
    async def scenario():
        async with started(APPS / "maps.py") as (zygote, told):
            assert (await zygote.hello(TIMEOUT)).app == "maps"
            assert zygote.unforkable == ""
        assert told.died == []

    asyncio.run(scenario())


def test_torch_is_told_to_look_for_gpus_without_a_use_of_cuda_that_no_fork_survives(tmp_path):
    path = tmp_path / "told_one.py"
    path.write_text(
        "import os\nfrom regrain import App\napp = App('told-' + os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'])\n"
        "@app.stage()\ndef double(number: int) -> int:\n    return 2 * number\n"
        "@app.flow\ndef run(number: int) -> int:\n    return double(number)\n"
    )

    async def scenario():
        async with started(path) as (zygote, _):
            assert (await zygote.hello(TIMEOUT)).app == "told-1"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("1 / 0\n", "ZeroDivisionError", id="raises"),
        pytest.param("import os; os._exit(3)\n", "the process that imports .* ended", id="exits"),
        pytest.param("x = 1\n", "neither an App nor handle", id="no app"),
    ],
)
def test_a_module_that_is_no_app_is_a_load_error(tmp_path, text, reason):
    path = tmp_path / "failing.py"
    path.write_text(text)

    async def scenario():
        async with started(path) as (zygote, told):
            with pytest.raises(LoadError, match=reason):
                await zygote.hello(TIMEOUT)
        assert told.died == []

    asyncio.run(scenario())


def test_a_process_that_is_killed_at_its_import_is_told_apart_from_a_module_that_fails(tmp_path):
    """Another one may fare better."""
    path = tmp_path / "killed.py"
    path.write_text("import os; os.kill(os.getpid(), 9)\n")

    async def scenario():
        async with started(path) as (zygote, _):
            with pytest.raises(DiedError):
                await zygote.hello(TIMEOUT)

    asyncio.run(scenario())


def test_a_module_that_takes_too_long_to_import_is_a_load_error(tmp_path, monkeypatch):
    monkeypatch.setattr("regrain_watchdog.front.zygote.END_TIMEOUT", 0.2)
    path = tmp_path / "slow.py"
    path.write_text("import time; time.sleep(60)\n")

    async def scenario():
        async with started(path) as (zygote, _):
            with pytest.raises(LoadError, match=r"took more than 0\.1 s"):
                await zygote.hello(0.1)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["maps", "threaded"])
def test_a_replica_lives_serves_ends_and_is_told_of(name):
    async def scenario():
        async with started(APPS / f"{name}.py") as (zygote, told):
            await zygote.hello(TIMEOUT)
            sock = spawn(zygote, told, 7)
            await told.until(lambda: 7 in told.born)
            pid, pidfd = told.born[7]
            assert psutil.pid_exists(pid)

            sock.sendall(frames.encode(frames.Stop()))
            await told.until(lambda: told.exited)

            assert told.exited == [(7, 0)]
            assert select.select([pidfd], [], [], 0)[0]
            sock.close()

    asyncio.run(scenario())


def test_births_and_deaths_that_come_together_are_all_told_and_leave_no_descriptor():
    async def scenario():
        async with started(APPS / "maps.py") as (zygote, told):
            await zygote.hello(TIMEOUT)
            gc.collect()  # what earlier tests left would be closed at any time
            before = psutil.Process().num_fds()
            socks = []
            for start in range(0, 24, 4):
                socks += [spawn(zygote, told, number) for number in range(start, start + 4)]
                await told.until(lambda start=start: start in told.born)
                os.kill(told.born[start][0], signal.SIGKILL)

            await told.until(lambda: len(told.born) == 24 and len(told.exited) == 6)

            assert set(told.exited) == {(start, -signal.SIGKILL) for start in range(0, 24, 4)}
            assert (
                psutil.Process().num_fds() == before + 3 * 24
            )  # each replica's socket, leash and pidfd, in our hands
            for sock in socks:
                sock.close()

    asyncio.run(scenario())


def test_a_zygote_that_dies_is_told_once_and_its_replicas_live_on():
    async def scenario():
        async with started(APPS / "maps.py") as (zygote, told):
            await zygote.hello(TIMEOUT)
            sock = spawn(zygote, told, 1)
            await told.until(lambda: 1 in told.born)

            os.kill(zygote._process.pid, signal.SIGKILL)
            await told.until(lambda: told.died)

            assert len(told.died) == 1
            assert "maps.py ended" in told.died[0]
            sock.settimeout(TIMEOUT)
            sock.sendall(frames.encode(frames.Load(("mean",))))
            assert sock.recv(1 << 16)
            sock.close()

    asyncio.run(scenario())
