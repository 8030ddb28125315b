"""The process that replicas are forked from.

It has imported the user's module and its heavy libraries, runs one thread and never runs a model: a fork of it
starts in milliseconds and shares the imported pages. Models load after the fork.
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import NoReturn

from regrain import manifest
from regrain.app import App
from regrain.errors import RegrainError
from regrain.leavings import LOOK, Leavings
from regrain.wire import frames
from regrain_runtime import forks, loop, module

DESCRIPTORS_PER_FORK = 4
"""Leash, socket, cancel board, progress board."""
LARGEST_CHOSEN = 2**32 - 1
"""Seed that is taken for one that somebody has given torch; NumPy takes none above. Torch's own are 64 random bits."""


def main(sock: socket.socket, target: str) -> int:
    """Import the module, say hello, and fork replicas until the front is gone. Returns the exit code."""
    forks.leave_signals_to_the_front()
    try:
        app = module.load(target)
        described = manifest.dumps(module.manifest(app, target))
        module.preload()
        reason = module.unforkable()
        hello = frames.encode(frames.Hello(described, reason))
    except frames.FrameError as error:
        return _give_up(sock, f"the sample and the defaults of the app are too large together: {error}")
    except RegrainError as error:
        return _give_up(sock, str(error))
    sock.sendall(hello)
    if reason:
        return 0
    gc.collect()
    gc.freeze()
    return Zygote(sock, app).serve()


def _give_up(sock: socket.socket, reason: str) -> int:
    """Say why no replica will come of this process; return its exit code."""
    sock.sendall(frames.encode(frames.Broken(reason)))
    return 2


class Zygote:
    """Forks replicas on request and reaps them; what they leave behind ends with them."""

    def __init__(self, sock: socket.socket, app: App) -> None:
        self._sock = sock
        self._app = app
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> (replica, pid)
        self._leavings = Leavings()
        self._poll = select.poll()
        self._reader: frames.FrameReader[frames.ToZygote] = frames.FrameReader(frames.ToZygote)
        self._descriptors: list[int] = []

    def serve(self) -> int:
        """Fork and reap until told to stop or until the front is gone, then end what is left."""
        self._poll.register(self._sock, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll(LOOK * 1e3 if self._leavings.look(time.monotonic()) else None):
                if fd != self._sock.fileno():
                    self._reap(fd)
                    continue
                for frame in self._receive():
                    if isinstance(frame, frames.Stop):
                        return self._end()
                    self._fork(frame.id)

    def _receive(self) -> Iterator[frames.ToZygote]:
        try:
            chunk, descriptors, _, _ = socket.recv_fds(self._sock, loop.RECEIVE, loop.DESCRIPTORS)
        except ConnectionResetError:
            chunk, descriptors = b"", []
        self._descriptors.extend(descriptors)
        if not chunk:
            yield frames.Stop()
        yield from self._reader.feed(chunk)

    def _fork(self, replica: int) -> None:
        mine = self._descriptors[:DESCRIPTORS_PER_FORK]
        del self._descriptors[:DESCRIPTORS_PER_FORK]
        sys.stdout.flush()
        sys.stderr.flush()
        pid = forks.fork()
        if pid == 0:
            self._become(mine)
        for fd in mine:
            os.close(fd)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (replica, pid)
        self._poll.register(pidfd, select.POLLIN)
        socket.send_fds(self._sock, [frames.encode(frames.Forked(replica, pid))], [pidfd])

    def _become(self, descriptors: list[int]) -> NoReturn:
        """Be the replica: keep nothing of the zygote but what it imported."""
        leash, *rest = descriptors

        def work() -> int:
            forks.leash(leash)
            self._sock.close()
            for pidfd in self._children:
                os.close(pidfd)
            reseed()
            forks.begin()
            loop.attach(self._app, *rest).serve()
            return 0

        forks.live(work)

    def _reap(self, pidfd: int) -> None:
        replica, pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        self._leavings.end(pid, time.monotonic())
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        with contextlib.suppress(OSError):  # the front is gone; serve() sees it next
            self._sock.sendall(frames.encode(frames.Exited(replica, pid, os.waitstatus_to_exitcode(status))))

    def _end(self) -> int:
        for pidfd in list(self._children):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            self._reap(pidfd)
        while self._leavings.look(time.monotonic()):
            time.sleep(LOOK)
        return 0


def reseed() -> None:
    """Give a forked child random numbers of its own; Python's own generator does it by itself.

    Torch that was given a seed keeps to it. On a GPU the new one holds from torch's first use of CUDA on.
    """
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
    torch = sys.modules.get("torch")
    if torch is not None and torch.initial_seed() > LARGEST_CHOSEN:
        torch.seed()
