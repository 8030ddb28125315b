"""The keeper keeps the port open and the processes running, whoever dies, and ends all of them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from regrain.errors import SpecError
from regrain_watchdog.gateway.keeper import PASSED, listening, prepared, told
from regrain_watchdog.gateway.settings import Settings

PATIENCE = 60.0
FRONT = """
import os, signal, socket, sys

def cut(*_):
    connection.sendall(b"cut off")
    os._exit(1)

def end(*_):
    signal.signal(signal.SIGTERM, cut)
    listener.close()
    if connection is not None:
        connection.sendall(b"draining")
        connection.recv(1)  # the last caller says when
        connection.sendall(b"finished")
    sys.exit(0)

connection = None
listener = socket.socket(fileno=int(sys.argv[1]))
listener.setblocking(True)
signal.signal(signal.SIGTERM, end)
while True:
    connection, _ = listener.accept()
    connection.sendall(b"%8d" % os.getpid())
"""
CONTROL = """
import os, pathlib, signal, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
signal.pause()
"""
KEEPER = f"""
import asyncio, sys
from regrain_watchdog.gateway.keeper import Keeper, listening

async def keep():
    port = listening("127.0.0.1", 0)
    front = [sys.executable, "-c", {FRONT!r}, str(port.fileno())]
    control = [sys.executable, "-c", {CONTROL!r}, sys.argv[1]]
    print(port.getsockname()[1], flush=True)
    await Keeper(port, front, control).keep()

asyncio.run(keep())
"""


def until(holds: Callable[[], object], what: str) -> object:
    end = time.monotonic() + PATIENCE
    while True:
        if found := holds():
            return found
        assert time.monotonic() < end, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.01)


class Kept:
    """A keeper's process with a front that tells its pid and a control plane that writes its own."""

    def __init__(self, folder: Path) -> None:
        self.control_pid = folder / "control.pid"
        self.process = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(self.control_pid)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.seen: set[psutil.Process] = set()
        self.connections: list[socket.socket] = []

    def connect(self) -> tuple[socket.socket, int]:
        """Connect, and return the pid of the front that answers."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.connections.append(connection)
        front = int(connection.recv(8))
        self.seen.add(psutil.Process(front))
        return connection, front

    def control(self, but: int = 0) -> int:
        """The pid of the control plane, once it is another one."""

        def pid() -> int:
            text = self.control_pid.read_text() if self.control_pid.exists() else ""
            return int(text) if text and int(text) != but else 0

        found = until(pid, "a control plane")
        assert isinstance(found, int)
        self.seen.add(psutil.Process(found))
        return found

    def ended(self) -> int:
        """Wait until it and its children are gone; return its exit code."""
        code = self.process.wait(PATIENCE)
        psutil.wait_procs(self.seen, PATIENCE)
        assert not [one for one in self.seen if one.is_running()]
        return code

    def destroy(self) -> None:
        for connection in self.connections:
            connection.close()
        self.process.kill()
        psutil.wait_procs(self.seen, PATIENCE)
        self.process.communicate()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.destroy()


@pytest.mark.process
def test_a_front_that_dies_is_followed_by_one_that_answers_on_the_same_port(kept: Kept) -> None:
    _, first = kept.connect()
    control = kept.control()

    os.kill(first, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(first), "the front is gone")
    _, second = kept.connect()  # the port is open all the time: nobody is refused

    assert second != first
    assert kept.control() == control


@pytest.mark.process
def test_a_control_plane_that_dies_is_started_again_and_the_front_does_not_notice(kept: Kept) -> None:
    _, front = kept.connect()
    control = kept.control()

    os.kill(control, signal.SIGKILL)

    assert kept.control(but=control) != control
    assert kept.connect()[1] == front


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_waits_for_what_was_accepted(kept: Kept, number: signal.Signals) -> None:
    connection, _ = kept.connect()
    control = psutil.Process(kept.control())

    kept.process.send_signal(number)
    assert connection.recv(8) == b"draining"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", kept.port), PATIENCE)
    until(lambda: not control.is_running(), "the control plane has ended")
    connection.sendall(b"!")

    assert connection.recv(8) == b"finished"
    assert kept.ended() == 0


@pytest.mark.process
def test_told_again_it_ends_at_once(kept: Kept) -> None:
    connection, _ = kept.connect()
    control = psutil.Process(kept.control())

    kept.process.terminate()
    until(lambda: not control.is_running(), "the control plane has ended")
    assert connection.recv(8) == b"draining"
    kept.process.terminate()

    assert kept.ended() == 0
    assert connection.recv(8) == b"cut off"
    assert connection.recv(8) == b""


@pytest.mark.process
def test_a_keeper_that_is_killed_leaves_nobody_behind(kept: Kept) -> None:
    connection, _ = kept.connect()
    kept.control()

    kept.process.kill()
    connection.sendall(b"!")

    assert kept.ended() == -signal.SIGKILL


def test_what_is_in_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    settings = Settings(state=str(tmp_path / "a" / "b"))

    with prepared(settings):
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (settings.folder, *settings.folder.iterdir())
        }
        first = settings.key.read_bytes()
    with prepared(settings):
        assert settings.key.read_bytes() == first

    assert modes.pop("b") == (PASSED if os.geteuid() == 0 else 0o700)
    assert modes.keys() >= {"lock", "basic-auth-user", "basic-auth-password", "payload-secret"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == (PASSED if os.geteuid() == 0 else 0o700)
    assert len(first) >= 32


def test_a_folder_is_one_gateway_s(tmp_path: Path) -> None:
    settings = Settings(state=str(tmp_path))

    with prepared(settings), pytest.raises(SpecError, match="another gateway"), prepared(settings):
        pass


@pytest.mark.parametrize(("content", "said"), [(None, "there is no file"), (b" \n", "is empty")])
def test_a_key_that_is_none_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with (
        pytest.raises(SpecError, match=f"--payload-secret: .*{said}"),
        prepared(Settings(state=str(tmp_path / "state"), payload_secret=str(path))),
    ):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SpecError, match=f"127.0.0.1 port {port} .*: Address already in use"):
            listening("127.0.0.1", port)


def test_how_to_log_in_is_told_by_the_password_s_path(tmp_path: Path) -> None:
    settings = Settings(state=str(tmp_path))
    with prepared(settings):
        password = (tmp_path / "basic-auth-password").read_text()

    lines = told(settings, 8080)

    assert f"--password-stdin < {tmp_path}/basic-auth-password" in lines[1]
    assert password not in "".join(lines)
    assert len(told(Settings(state=str(tmp_path), auth=False), 8080)) == 2


@pytest.mark.parametrize(
    ("host", "url"),
    [("localhost", "http://localhost:80"), ("10.0.0.8", "http://10.0.0.8:80"), ("::1", "http://[::1]:80")],
)
def test_the_address_that_is_told_can_be_asked(tmp_path: Path, host: str, url: str) -> None:
    lines = told(Settings(state=str(tmp_path), host=host), 80)

    assert lines[0].startswith(f"gateway on {url}, ")
    assert f"-g {url} " in lines[1]
    assert f"--remote-builder {url} " in lines[2]
