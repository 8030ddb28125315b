"""The process that holds a GPU's weights: one per device and user, for as long as somebody is connected.

Replicas start it (`start`), and it ends by itself when no replica has been connected for the time of grace.
A lock beside its socket keeps a second one away; the kernel unlocks it however the first one ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from regrain.errors import RegrainError
from regrain.weights.device import LOCK
from regrain_runtime.gpu.driver import Memory
from regrain_runtime.holder import frames
from regrain_runtime.holder.shelf import Shelf

logger = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds that weights stay which nobody has mapped, and a holder to whom nobody is connected."""
CREDENTIALS = struct.Struct("3i")
READ = select.POLLIN


def start(path: Path, memory: Memory, *, ordinal: int = 0, grace: float = GRACE) -> int:
    """Leave a holder behind, as nobody's child, and return once it serves; the exit code is 2 where it cannot be.

    What it logs is read until then; later its replicas are told what goes wrong.
    Call it in a process of its own that has made no CUDA call yet; the holder is a fork of it, and returns as well.

    Args:
        path: of the socket; its folder must be this user's to write to.
        memory: the driver's calls.
        ordinal: of the device.
        grace: seconds, see GRACE.
    """
    told, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(told, 1) else 2
    os.close(told)
    os.setsid()  # no key pressed in a terminal reaches it
    try:
        with _alone(path) as alone:
            if alone:
                _serve(path, Shelf(memory, ordinal, grace=grace), grace, tell)
            else:
                os.write(tell, b"x")
    except (RegrainError, OSError) as error:
        logger.error("no holder of weights: %s", error)
        return 2
    return 0


def _serve(path: Path, shelf: Shelf, grace: float, tell: int) -> None:
    """Hold weights until nobody wants any."""
    try:
        holder = _Holder(_listen(path), shelf, grace)
        _let_go()
        os.write(tell, b"x")
        os.close(tell)
        holder.serve()
    finally:
        path.unlink(missing_ok=True)
        shelf.close()


def _let_go() -> None:
    """Close the terminal, file or pipes of whoever started it: who reads from them waits for all that have them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)


class _Holder:
    """The socket and those connected to it, by descriptor."""

    def __init__(self, listener: socket.socket, shelf: Shelf, grace: float) -> None:
        self._listener = listener
        self._shelf = shelf
        self._grace = grace
        self._epoch = secrets.randbits(63)
        self._left = time.monotonic()  # when the last one left
        self._peers: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._poll.register(listener, READ)

    def serve(self) -> None:
        """Answer until nobody has been connected for the time of grace."""
        logger.info("holding weights, epoch %d", self._epoch)
        while self._peers or time.monotonic() < self._left + self._grace:
            now = time.monotonic()
            self._shelf.sweep(now)
            due = self._shelf.due() if self._peers else self._left + self._grace
            for descriptor, _ in self._poll.poll(None if due is None else max(0.0, due - now) * 1e3 + 1):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._answer(descriptor)
        self._listener.close()

    def _accept(self) -> None:
        peer, _ = self._listener.accept()
        pid, user, _ = CREDENTIALS.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        )
        if user != os.geteuid():
            logger.warning("process %d is of user %d: a handle is for this user's alone", pid, user)
            peer.close()
            return
        peer.setblocking(False)
        self._peers[peer.fileno()] = peer
        self._poll.register(peer, READ)

    def _answer(self, descriptor: int) -> None:
        """Answer one frame; whoever sends none, or does not take the answer, is disconnected."""
        peer = self._peers[descriptor]
        with contextlib.ExitStack() as stack:
            try:
                packet, files, _, _ = socket.recv_fds(peer, frames.ROOM, 1)
                for file in files:
                    stack.callback(os.close, file)
                if packet:
                    self._handle(peer, frames.decode(packet, frames.FromReplica), files)
                    return
            except (OSError, frames.PacketError) as error:
                logger.warning("a replica is disconnected: %s", error)
        self._poll.unregister(peer)
        del self._peers[descriptor]
        peer.close()
        self._left = time.monotonic()
        self._shelf.give_back(descriptor, self._left)

    def _handle(self, peer: socket.socket, frame: frames.FromReplica, files: list[int]) -> None:
        reader = peer.fileno()
        if isinstance(frame, frames.Return):
            self._shelf.give_back(reader, time.monotonic(), frame.key)
            return
        answer: frames.FromHolder = frames.Wanted(frame.key)
        try:
            with contextlib.closing(_mapped(files[0])) if files else contextlib.nullcontext() as data:
                handle = self._shelf.lend(frame.key, frame.nbytes, reader, data)
            if handle is not None:
                answer = frames.Lent(frame.key, frame.nbytes, handle, self._epoch)
        except (RegrainError, OSError, ValueError) as error:  # ValueError: mmap of an empty file
            answer = frames.Denied(frame.key, str(error))
        peer.send(frames.encode(answer))


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Keep other holders of this path away; False where there is one. The lock also tells the arbiter who it is."""
    lock = os.open(f"{path}{LOCK}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


def _listen(path: Path) -> socket.socket:
    """Return a socket at this path that only this user can connect to."""
    path.unlink(missing_ok=True)  # of one that died; whoever has the lock is alone
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen()
    return listener


def _mapped(file: int) -> mmap.mmap:
    return mmap.mmap(file, 0, prot=mmap.PROT_READ)
