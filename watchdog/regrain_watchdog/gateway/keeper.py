"""The process that is `regrain gateway`: it keeps the front and the control plane running, and serves nothing itself.

It opens the port and hands it to the front, so that a front that is started again finds the connections that came
meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from regrain.errors import SpecError
from regrain_watchdog.front.http1.limits import BACKLOG
from regrain_watchdog.front.upstream.process import Process
from regrain_watchdog.front.upstream.upstream import Address
from regrain_watchdog.gateway import private
from regrain_watchdog.gateway.credentials import PASSWORD, Credentials
from regrain_watchdog.gateway.settings import Settings

PACKAGE = "regrain_watchdog.gateway"
PASSED = 0o711
"""The mode of root's state folder: functions have users of their own, and reach what is theirs in it. Whatever else is
there has a mode of its own."""
DRAIN = 60.0
"""Seconds that the front has to finish what it accepted; it bounds that itself, by less."""
CUT = 2.0
"""Seconds that it has to kill the functions' processes with all that they started, when told to end at once."""


class Keeper:
    """Keeps the gateway's processes running until SIGTERM or SIGINT, and lets them finish then; a second one ends them.

    Args:
        port: the socket that clients connect to. The front inherits it, under the number that it has here.
        front, control: the commands of the two.
    """

    def __init__(self, port: socket.socket, front: Sequence[str], control: Sequence[str]) -> None:
        self._port = port
        self._front = Process(
            front,
            environment=os.environ,
            changed=_nothing,
            descriptors=(port.fileno(),),
            name="the front",
            patience=DRAIN,
        )
        self._control = Process(control, environment=os.environ, changed=_nothing, name="the control plane")
        self._told = asyncio.Event()
        self._told_again = asyncio.Event()

    async def keep(self) -> None:
        """Keep them running until this process is told to end, and they have."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._tell)
        await asyncio.gather(self._front.start(), self._control.start())
        await self._told.wait()
        self._port.close()  # the front has its own, and closes it before it drains
        cutting = asyncio.create_task(self._cut())
        await asyncio.gather(self._front.stop(), self._control.stop())
        cutting.cancel()

    async def _cut(self) -> None:
        """End them at once, when told to end again."""
        await self._told_again.wait()
        await asyncio.gather(self._front.kill(CUT), self._control.kill())

    def _tell(self) -> None:
        (self._told_again if self._told.is_set() else self._told).set()


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Serve until signalled. SpecError where the folder or the address cannot be had."""
    with prepared(settings), listening(settings.host, settings.port) as port:
        for line in told(settings, port.getsockname()[1]):
            say(line)
        program = [sys.executable, "-m"]
        front = [*program, f"{PACKAGE}.plane", settings.encode(), str(port.fileno())]
        control = [*program, f"{PACKAGE}.control", settings.encode()]
        asyncio.run(Keeper(port, front, control).keep())


@contextlib.contextmanager
def prepared(settings: Settings) -> Iterator[None]:
    """Make the state folder, the password and the key of builds where there are none; hold the folder for the block."""
    folder = settings.folder
    mode = PASSED if os.geteuid() == 0 else 0o700
    try:
        private.folder(folder, mode)
    except OSError as error:
        raise SpecError(f"--state: {folder} cannot be made: {error.strerror}") from error
    if folder.stat().st_uid != os.geteuid():
        raise SpecError(f"--state: {folder} belongs to another user")
    folder.chmod(mode)
    with (folder / "lock").open("wb") as lock:
        os.fchmod(lock.fileno(), 0o600)  # who may open it could lock it
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SpecError(f"--state: another gateway keeps its state in {folder}") from error
        Credentials.load(folder)
        _key(settings)
        yield


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; SpecError where the address cannot be had."""
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SpecError(
            f"cannot listen on {host} port {port} (--host, --port; 0 for any free one): {error.strerror}"
        ) from error


def told(settings: Settings, port: int) -> list[str]:
    """Return what a user wants to know at the start; the password itself is not in it."""
    url = f"http://{Address(host=settings.host, port=port).netloc}"
    lines = [f"gateway on {url}, its state in {settings.folder}"]
    if settings.auth:
        lines.append(f"log in with: faas-cli login -g {url} --password-stdin < {settings.folder / PASSWORD}")
    lines.append(
        f"build and deploy with: faas-cli up -g {url} --remote-builder {url} --payload-secret {settings.key}"
    )
    return lines


def _key(settings: Settings) -> None:
    path: Path = settings.key
    if settings.payload_secret and not path.is_file():
        raise SpecError(f"--payload-secret: there is no file {path}")
    if not private.made(path, secrets.token_urlsafe(32).encode).strip():
        raise SpecError(f"--payload-secret: {path} is empty")


def _nothing() -> None:
    """Nobody waits for a start or an end."""
