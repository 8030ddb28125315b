"""The front's side of a zygote: start it, take its manifest, have it fork replicas.

A module that must not be forked is run from fresh interpreters instead, slower to start and otherwise alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from regrain import manifest
from regrain.errors import LoadError
from regrain.leavings import LOOK, Leavings, reach
from regrain.manifest import Manifest
from regrain.wire import frames
from regrain_watchdog.front.link import Link
from regrain_watchdog.front.signals import held_back

logger = logging.getLogger(__name__)

SINGLE_THREADED = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Set to 1 for our children unless the user sets them: a pool started at import would not survive a fork, and
stages get their threads from their own `cpu`."""
FORKABLE = {"ORT_DISABLE_TELEMETRY": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
"""What would not survive a fork unless libraries are told not to: onnxruntime starts a thread for telemetry when it is
imported, and torch.cuda.is_available() begins to use CUDA, on whatever GPU comes first."""
END_TIMEOUT = 2.0
"""Seconds that a zygote has to end by itself."""


class Offspring(Protocol):
    """What a zygote tells of a replica that it started."""

    def __call__(self, pid: int, pidfd: int) -> None:
        """The replica lives; the pidfd is the receiver's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Birth:
    """How the processes that import an app are started.

    interpreter: of Python. prefix: what comes before it. environment: their variables; None for ours.
    output: the descriptor that they write to; None for ours.
    """

    interpreter: str = sys.executable
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    output: int | None = None


PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before each further try of a start that ended with a DiedError."""


class DiedError(LoadError):
    """The process that imports an app could not be started, or ended before it could say whether there is one."""


class Zygote:
    """A zygote process.

    environment: variables for it and its replicas, beside those of its birth.
    numbers: what new replicas are numbered by, where several zygotes serve one app.
    birth: how its process is started; as ours by default.
    died: called once with a sentence if it ends without being told to.
    exited: called with a replica's number and exit code (minus the signal) once it has been reaped.
    """

    def __init__(
        self,
        target: str,
        *,
        died: Callable[[str], None],
        exited: Callable[[int, int], None],
        environment: Mapping[str, str] | None = None,
        numbers: Iterator[int] | None = None,
        birth: Birth | None = None,
    ) -> None:
        self._target = target
        self._birth = birth = birth or Birth()
        self._environment = {
            **dict.fromkeys(SINGLE_THREADED, "1"),
            **FORKABLE,
            **(os.environ if birth.environment is None else birth.environment),
            **(environment or {}),
        }
        self._died = died
        self._exited = exited
        self._numbers = numbers or count(1)
        self._births: dict[int, Offspring] = {}
        self._fresh: dict[int, subprocess.Popen[bytes]] = {}
        self._leavings = Leavings()
        self._ending = False
        self.unforkable = ""
        self.died_of = ""
        self._digest = ""
        try:
            self._sock, self._process = self._open()
        except OSError as error:  # no descriptors, memory or processes at the moment, or no such interpreter
            raise DiedError(f"the process that imports {target} cannot be started: {error}") from error
        self._hello: asyncio.Future[Manifest] | None = None
        self._reaping: asyncio.Future[int] | None = None
        self._link: Link[frames.FromZygote] | None = None

    async def hello(self, timeout: float) -> Manifest:
        """Wait for the manifest. LoadError says in one line why the module is no app, or that it took too long.

        DiedError where the process ended; another one may fare better.
        """
        self._hello = asyncio.get_running_loop().create_future()
        self._link = Link(self._sock, frames.FromZygote, received=self._received, closed=self._closed)
        self._link.start()
        try:
            return await asyncio.wait_for(self._hello, timeout)
        except TimeoutError as error:
            raise LoadError(f"importing {self._target} took more than {timeout:g} s") from error

    def number(self) -> int:
        """Return a number for a new replica; none is given twice."""
        return next(self._numbers)

    def spawn(self, number: int, descriptors: list[int], born: Offspring) -> None:
        """Start a replica with its leash, socket, cancel board and progress board; `born` is told later, when it lives.

        OSError where the system has no room for it now.
        """
        if self.unforkable:
            self._spawn_fresh(number, descriptors, born)
            return
        if self._link is not None:
            self._link.send(frames.Fork(number), descriptors)
        self._births[number] = born

    async def stop(self) -> None:
        """End the zygote and whatever it still has; the replicas should be gone before."""
        self._ending = True
        self._kill_fresh()
        if self._hello is None or not self._hello.done():
            self._process.kill()  # it imports the module, and would not hear
        if self._link is not None:
            self._link.send(frames.Stop())
        else:
            self._sock.close()
        try:
            await asyncio.wait_for(asyncio.to_thread(self._process.wait), END_TIMEOUT)
        except TimeoutError:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
        if self._link is not None:
            self._link.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._until_buried(), END_TIMEOUT)

    def kill(self) -> None:
        """End it at once, with its replicas and what these have started."""
        self._ending = True
        self._kill_fresh()
        if self._link is None or self._hello is None or not self._hello.done():
            self._process.kill()  # it imports the module, and would not hear
            return
        self._link.close()
        asyncio.get_running_loop().call_later(END_TIMEOUT, self._process.kill)

    def _received(self, frame: frames.FromZygote, descriptors: list[int]) -> None:
        match frame:
            case frames.Hello():
                self.unforkable = frame.unforkable
                self._greeted(frame)
            case frames.Broken():
                self._fail(LoadError(frame.detail))
            case frames.Forked():
                self._births.pop(frame.id)(frame.pid, descriptors.pop(0))
            case frames.Exited():
                self._exited(frame.id, frame.status)

    def _greeted(self, hello: frames.Hello) -> None:
        if hello.unforkable:
            logger.warning(
                "replicas start from fresh interpreters: %s; keep threads and models out of the module's top level",
                hello.unforkable,
            )
            self._ending = True
        if self._hello is not None and not self._hello.done():
            found = manifest.loads(hello.manifest)
            self._digest = found.digest
            self._hello.set_result(found)

    def _fail(self, error: LoadError) -> None:
        self._ending = True
        if self._hello is not None and not self._hello.done():
            self._hello.set_exception(error)

    def _closed(self, reason: str) -> None:
        self._reaping = asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        if not self._ending:
            sentence = f"the process that imports {self._target} ended: {reason}"
            if self._hello is not None and not self._hello.done():
                self._fail(DiedError(sentence))
            else:
                self.died_of = sentence
                self._died(sentence)

    def _spawn_fresh(self, number: int, descriptors: list[int], born: Offspring) -> None:
        """Start a replica of an interpreter of its own."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as undone:
            process = self._start("replica", descriptors, "--digest", self._digest)
            undone.callback(lambda: loop.run_in_executor(None, process.wait))
            undone.callback(process.kill)
            pidfd = os.pidfd_open(process.pid)
            undone.callback(os.close, pidfd)
            watched = os.dup(pidfd)
            undone.pop_all()
        self._fresh[number] = process
        loop.add_reader(watched, self._reap_fresh, number, watched)
        loop.call_soon(born, process.pid, pidfd)

    def _reap_fresh(self, number: int, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.close(pidfd)
        process = self._fresh.pop(number)
        self._leavings.end(process.pid, time.monotonic())
        self._exited(number, process.wait())
        self._look()

    def _look(self) -> None:
        """See what replicas that were started afresh have left behind, until nothing is."""
        if self._leavings.look(time.monotonic()):
            asyncio.get_running_loop().call_later(LOOK, self._look)

    def _kill_fresh(self) -> None:
        """End the replicas that were started afresh, none of which has been reaped yet, and what they have started."""
        for process in self._fresh.values():
            reach(process.pid, signal.SIGKILL)
            os.kill(process.pid, signal.SIGKILL)

    async def _until_buried(self) -> None:
        """Wait for the end of the replicas that were started afresh, and of what they leave behind."""
        while self._fresh or self._leavings.look(time.monotonic()):
            await asyncio.sleep(LOOK)

    def _open(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        """Start its process; return our end of the socket to it, and the process."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return ours, self._start("zygote", [theirs.fileno()])
            except OSError:
                ours.close()
                raise

    def _start(self, command: str, descriptors: Iterable[int], *options: str) -> subprocess.Popen[bytes]:
        passed = list(descriptors)
        arguments = [argument for fd in passed for argument in ("--fd", str(fd))]
        birth = self._birth
        program = [*birth.prefix, birth.interpreter, "-m", "regrain_runtime", command]
        with held_back():
            return subprocess.Popen(
                [*program, *arguments, *options, self._target],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=birth.output,
                stderr=birth.output,
                env=self._environment,
            )
