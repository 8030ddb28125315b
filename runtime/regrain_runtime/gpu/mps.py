"""Per cent of the SMs between processes, by NVIDIA's Multi-Process Service.

A client's share is fixed before it first uses CUDA, so all is said in its environment. Two things can go wrong between
clients that cannot without the service. A fault of one client's kernel is reported to all of them, and the server
takes no new ones until they have ended: so each looks at the server's state, also while it has nothing to do, and ends.
And a client that is killed at work leaves server and peers in an undefined state, so the control daemon is told to
terminate it first.

A process that does not reach the daemon runs without the service, on the whole GPU, and nobody says so. So a lane is
given only to a process that the daemon names as its client.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from regrain.errors import SpecError
from regrain_runtime.gpu import backend
from regrain_runtime.gpu.backend import Allowance, Lane
from regrain_runtime.gpu.capability import MPS, Capability
from regrain_runtime.gpu.driver import Driver, GpuError
from regrain_runtime.gpu.primary import Primary

logger = logging.getLogger(__name__)

BINARY = "nvidia-cuda-mps-control"
PIPES = Path("/tmp/nvidia-mps")  # noqa: S108 - the daemon's own default
FOLDER = "CUDA_MPS_PIPE_DIRECTORY"
TIMEOUT = 10.0
"""Seconds that the control daemon has for an answer, on a machine that is busy with the rest, too."""
LOOK = 2.0
"""Seconds between two looks of a client at the state of its server."""
PATIENCE = 20.0
"""Seconds that a newcomer waits for a server in FAULT: replicas end after LOOK, a holder of weights 10 s later."""
PAUSE = 0.05
LONGEST_PATH = 107
"""Bytes of a Unix socket's path; the daemon's is `control` in its folder, and beyond that it ends without a word."""
FAULT = "FAULT"
ABSENT = "Cannot find MPS control daemon"
MIB = 1 << 20


class Control(Protocol):
    """The control daemon of the service."""

    @property
    def pipes(self) -> Path:
        """The folder in which it listens."""
        ...

    def ask(self, command: str) -> str:
        """Return what it answers to a command; GpuError if it does not run or does not answer."""
        ...


class Daemon:
    """The control daemon that listens in the folder `pipes`, asked by its own command.

    pipes: None for what CUDA_MPS_PIPE_DIRECTORY says, as CUDA itself has it, else PIPES.
    """

    def __init__(self, pipes: Path | None = None, *, binary: str = BINARY, timeout: float = TIMEOUT) -> None:
        self._pipes = pipes or Path(os.environ.get(FOLDER) or PIPES)
        self._binary = binary
        self._timeout = timeout

    @property
    def pipes(self) -> Path:
        """The folder in which it listens."""
        return self._pipes

    def ask(self, command: str) -> str:
        """Return what it answers to a command."""
        if len(os.fsencode(self._pipes / "control")) > LONGEST_PATH:
            room = LONGEST_PATH - len("/control")
            raise GpuError(f"the path of an MPS daemon's folder has at most {room} bytes, was {self._pipes}")
        environment = {**os.environ, FOLDER: str(self._pipes)}
        try:
            done = subprocess.run(
                [self._binary],
                input=f"{command}\n",
                env=environment,
                capture_output=True,
                text=True,
                timeout=self._timeout,
                check=False,
            )
        except OSError as error:
            reason = f"{error.strerror}: it comes with NVIDIA's driver"
            raise GpuError(f"{self._binary} cannot be run: {reason}") from error
        except subprocess.TimeoutExpired as error:
            raise GpuError(
                f"the MPS control daemon in {self.pipes} did not answer {command!r} in {self._timeout:g} s"
            ) from error
        said = " ".join((done.stderr or done.stdout).split())
        if done.returncode or said.startswith(ABSENT):
            reason = said or f"exit code {done.returncode}"
            raise GpuError(f"the MPS control daemon in {self.pipes} refuses {command!r}: {reason}")
        return done.stdout.strip()


class MpsBackend:
    """The backend `mps`. patience: seconds that a newcomer waits for a server in FAULT. look: seconds, see LOOK."""

    def __init__(
        self,
        driver: Driver,
        control: Control,
        *,
        uuid: str = "",
        ordinal: int = 0,
        patience: float = PATIENCE,
        look: float = LOOK,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._driver = driver
        self._control = control
        self._uuid = uuid
        self._primary = Primary(driver, ordinal, uuid=uuid)
        self._patience = patience
        self._look = look
        self._watching: threading.Event | None = None
        self._clock = clock
        self._sleep = sleep

    @property
    def capability(self) -> Capability:
        """What it claims."""
        return MPS

    def obstacle(self) -> str:
        """Return why it does not work here: the daemon must run, and no server be in FAULT."""
        try:
            if faulty := self._faulty():
                clients = _clients(self._control, faulty)
                return (
                    f"MPS server {faulty} is in FAULT: it takes nobody until its clients {clients} have ended"
                )
        except GpuError as error:
            return str(error)
        return backend.driver_obstacle(self._driver, self._primary.ordinal)

    def absence(self) -> str:
        """Return why the control daemon cannot be reached; "" if it can, whatever state its servers are in."""
        try:
            self._control.ask("get_server_list")
        except GpuError as error:
            return str(error)
        return ""

    def environment(self, share: Allowance) -> dict[str, str]:
        """Return the share in the service's terms; waits while a server is in FAULT."""
        percentage = share.sms(100)
        if not percentage:
            raise SpecError(f"MPS shares a GPU by whole per cent, 0.01 is the least; asked for {share.part}")
        limits = {}
        if share.memory:
            if share.memory < MIB:
                raise SpecError(f"MPS limits memory by whole MiB, asked for {share.memory} bytes")
            limits["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={share.memory // MIB}M"
        self._await_servers()
        return {
            **backend.visible(self._uuid),
            FOLDER: str(self._control.pipes),
            "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percentage),
            "CUDA_MPS_CLIENT_PRIORITY": "1" if share.priority > 0 else "0",
            **limits,
        }

    def lane(self, share: Allowance) -> Lane:
        """Return the process's context, which sees as many SMs as it may use; GpuError if it is no client.

        From here on the process ends once its server is in FAULT for a kernel of the GPU that it uses.
        """
        lane = self._primary.lane(share)
        try:
            server = _server_of(self._control, os.getpid())
            if not server:
                raise GpuError(
                    f"process {os.getpid()} is no client of the MPS daemon in {self._control.pipes}, "
                    "and would have the whole GPU"
                )
        except BaseException:
            self._primary.stop()
            raise
        if self._watching is None:
            self._watching = threading.Event()
            threading.Thread(
                target=self._watch, args=(server, self._watching), name="mps", daemon=True
            ).start()
        return lane

    def resize(self, lane: Lane, share: Allowance) -> Lane:  # noqa: ARG002 - refused whatever it is
        """Refuse: the service fixes a client's percentage when it connects."""
        raise GpuError(
            "an MPS client keeps its percentage until it ends: start another replica of the new share"
        )

    def fence(self, lane: Lane) -> None:  # noqa: ARG002 - there is but one
        """Wait for all work of the process."""
        self._primary.fence()

    def close(self, lane: Lane) -> None:
        """Wait for its work; the context stays until the end."""
        self.fence(lane)

    def end(self, pid: int, pidfd: int) -> None:
        """Have the daemon terminate a client, then kill its process, also where the daemon fails to."""
        try:
            terminate(self._control, pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                backend.kill(pid, pidfd)

    def stop(self) -> None:
        """Release the context, and look at the server no more."""
        if self._watching is not None:
            self._watching.set()
            self._watching = None
        self._primary.stop()

    # ------------------------------------------------------------------------------------------------------

    def _watch(self, server: int, stopped: threading.Event) -> None:
        """End this process once its server is in FAULT and it is hit: while such a client lives, it takes no other.

        A fault is of one GPU, and a server is of all: clients of the others go on.
        """
        while not stopped.wait(self._look):
            try:
                ends = self._has_faulted(server) and self._is_hit()
            except GpuError:  # a daemon that does not answer says nothing of its server
                continue
            except Exception:
                logger.exception("cannot look at MPS server %d now", server)
                continue
            if ends:
                logger.critical("MPS server %d is in FAULT, so this process ends", server)
                os._exit(1)  # whatever else it waits for

    def _is_hit(self) -> bool:
        """Whether this process's context is lost, as each call to it says from a fault of its GPU on."""
        try:
            self._primary.fence()
        except GpuError:
            return True
        return False

    def _await_servers(self) -> None:
        """Return once no server is in FAULT; GpuError if one still is when patience ends."""
        until = self._clock() + self._patience
        while faulty := self._faulty():
            if self._clock() >= until:
                raise GpuError(f"MPS server {faulty} stayed in FAULT for {self._patience:g} s")
            self._sleep(PAUSE)

    def _faulty(self) -> int:
        """Return a server that is in FAULT, or 0."""
        servers = _pids(self._control.ask("get_server_list"))
        return next((server for server in servers if self._has_faulted(server)), 0)

    def _has_faulted(self, server: int) -> bool:
        return FAULT in self._control.ask(f"get_server_status {server}").upper()


def terminate(control: Control, pid: int) -> None:
    """Have the daemon terminate a client, so that it may be killed; nothing for a process that is none.

    Raises:
        GpuError: the daemon does not run, does not answer, or refuses.
    """
    if server := _server_of(control, pid):
        control.ask(f"terminate_client {server} {pid}")


def _server_of(control: Control, pid: int) -> int:
    """Return the server whose client a process is, or 0."""
    servers = _pids(control.ask("get_server_list"))
    return next((server for server in servers if pid in _pids(_clients(control, server))), 0)


def _clients(control: Control, server: int) -> str:
    return " ".join(control.ask(f"get_client_list {server}").split())


def _pids(text: str) -> list[int]:
    """Return the process ids in an answer, which may say something else where there are none."""
    return [int(word) for word in text.split() if word.isdigit()]
