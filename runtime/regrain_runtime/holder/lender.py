"""A replica's end: weights of a GPU's holder, mapped into this process for as long as a tensor lies in them.

The first replica that finds no holder starts one. The memory is the holder's: once it is gone what is mapped here must
not be used any more, so a replica asks `check` before it runs anything, and ends.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from regrain_runtime.gpu.driver import GpuError, Memory
from regrain_runtime.holder import frames

COMMAND = (sys.executable, "-m", "regrain_runtime.holder")
"""Starts a holder and ends once that serves; the path of its socket comes last."""
START = 30.0
"""Seconds within which a holder must serve."""
COPY = 600.0
"""Seconds within which it must have answered: it may be copying gigabytes from a disk, for others as well."""
PAUSE = 0.02
"""Seconds between starting it and reaching it."""
CREDENTIALS = struct.Struct("3i")
ITS_OWN = (
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
    "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
    "CUDA_MPS_CLIENT_PRIORITY",
)
"""What the environment says of a replica's share, and is not meant for a holder."""


class HolderLostError(GpuError):
    """The holder of weights is gone, and what was mapped of it must not be used."""


class Loan:
    """Weights of a holder in this process. They stay mapped until nothing refers to this any more.

    Attributes:
        address: of the device's memory, as this process sees it.
        nbytes: how many.
        epoch: of the holder.
    """

    def __init__(self, address: int, nbytes: int, epoch: int) -> None:
        self.address = address
        self.nbytes = nbytes
        self.epoch = epoch

    @property
    def __cuda_array_interface__(self) -> Mapping[str, object]:
        """Say where the bytes are, as torch, cupy and numba take it. Read-only is what torch does not take."""
        return {
            "shape": (self.nbytes,),
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
        }


class Lender:
    """The weights of one device for this process; for one thread.

    path: of the holder's socket. memory: the driver's calls. ordinal: of the device, as this process sees it.
    """

    def __init__(
        self, path: Path, memory: Memory, *, ordinal: int = 0, command: Sequence[str] = COMMAND
    ) -> None:
        self.device = f"cuda:{ordinal}"
        self._path = path
        self._memory = memory
        self._ordinal = ordinal
        self._command = command
        self._sock: socket.socket | None = None
        self._context: int | None = None
        self._pid = os.getpid()
        self._loans: weakref.WeakValueDictionary[str, Loan] = weakref.WeakValueDictionary()

    def borrow(self, key: str, nbytes: int, file: Callable[[], Path]) -> Loan:
        """Return weights in the device's memory; the same again while this process has them.

        Args:
            key: names what they are.
            nbytes: how many bytes.
            file: makes the file that holds them; called where the holder has them not.

        Raises:
            GpuError: they cannot be had, and why; HolderLostError where others are borrowed and their holder is gone.
            OSError: there is no such file. Whatever `file` raises.
        """
        self.check()
        if (had := self._loans.get(key)) is not None:
            return had
        answer = self._ask(frames.Borrow(key, nbytes))
        if isinstance(answer, frames.Wanted):
            with file().open("rb") as source:
                answer = self._ask(frames.Borrow(key, nbytes), source.fileno())
        if not isinstance(answer, frames.Lent):
            reason = answer.reason if isinstance(answer, frames.Denied) else "it wants them again"
            raise GpuError(f"the holder of weights at {self._path} has not {key}: {reason}")
        if any(loan.epoch != answer.epoch for loan in self._loans.values()):
            raise self._lost()
        loan = Loan(self._memory.attach(self._retained(), answer.handle), nbytes, answer.epoch)
        self._loans[key] = loan
        weakref.finalize(loan, self._return, key, loan.address).atexit = False
        return loan

    @property
    def lends(self) -> bool:
        """Whether anything is borrowed now."""
        return bool(self._loans)

    def check(self) -> None:
        """Raise HolderLostError if anything is borrowed and the holder is gone."""
        if self._sock is not None and _is_gone(self._sock):
            self._leave()
        if self._sock is None and self.lends:
            raise self._lost()

    def close(self) -> None:
        """Leave the holder and the device. While tensors lie in what was borrowed, the process's end does that."""
        if self.lends:
            return
        self._leave()
        if self._context is not None:
            self._memory.release(self._ordinal)
            self._context = None

    # ------------------------------------------------------------------------------------------------------

    def _ask(self, frame: frames.Borrow, *files: int) -> frames.FromHolder:
        """Return the answer; one holder may end just as we come, so that another has to be started."""
        until = time.monotonic() + START
        while True:
            sock = self._connected(until)
            sock.settimeout(COPY)
            try:
                socket.send_fds(sock, [frames.encode(frame)], files)
                if packet := sock.recv(frames.ROOM):
                    return _checked(frames.decode(packet, frames.FromHolder), frame)
            except TimeoutError as error:
                self._leave()  # its answer would be taken for that to the next question
                self.check()
                raise GpuError(f"the holder of weights at {self._path} does not answer") from error
            except (OSError, frames.PacketError) as error:
                if isinstance(error, frames.PacketError) or time.monotonic() >= until:
                    raise GpuError(f"what serves at {self._path} is no holder of weights: {error}") from error
            self.check()

    def _leave(self) -> None:
        """Be without a connection."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connected(self, until: float) -> socket.socket:
        """Return the connection, made anew if need be; a holder is started where none serves."""
        while self._sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                sock.connect(str(self._path))
            except OSError as error:
                sock.close()
                if time.monotonic() >= until:
                    raise GpuError(
                        f"no holder of weights serves at {self._path}: {error.strerror}"
                    ) from error
                self._start()
            else:
                self._sock = _of_this_user(sock)
        return self._sock

    def _start(self) -> None:
        """Start a holder; GpuError where none can be. It is no child of this process, and outlives it."""
        environment = {name: value for name, value in os.environ.items() if name not in ITS_OWN}
        command = [*self._command, str(self._path)]
        try:
            code = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, timeout=START, check=False
            ).returncode
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GpuError(f"no holder of weights can be started: {error}") from error
        if code:
            raise GpuError(f"no holder of weights can be started: it ended with exit code {code}")
        time.sleep(PAUSE)  # one that ends may be in the way of the one that was to be

    def _retained(self) -> int:
        if self._context is None:
            self._context = self._memory.retain(self._ordinal)
        return self._context

    def _return(self, key: str, address: int) -> None:
        """Unmap what no tensor lies in any more, then say so: the holder may free it.

        A child that a stage has forked has a copy of all this, and must not speak for its parent.
        """
        if os.getpid() != self._pid:
            return
        if self._context is not None:
            self._memory.finish(self._context)
            self._memory.detach(self._context, address)
        if self._sock is not None:
            try:
                self._sock.send(frames.encode(frames.Return(key)))
            except OSError:  # it is gone, and has nothing to free
                return

    def _lost(self) -> HolderLostError:
        return HolderLostError(
            f"the holder of weights at {self._path} is gone, and its memory with it: this replica must start anew"
        )


def _checked(answer: frames.FromHolder, asked: frames.Borrow) -> frames.FromHolder:
    """Return an answer; PacketError if it is one to something else."""
    nbytes = answer.nbytes if isinstance(answer, frames.Lent) else asked.nbytes
    if (answer.key, nbytes) != (asked.key, asked.nbytes):
        raise frames.PacketError(
            f"it answers for {answer.key} of {nbytes} bytes, asked was {asked.key} of {asked.nbytes}"
        )
    return answer


def _is_gone(sock: socket.socket) -> bool:
    """Whether nobody is at the other end any more; it never says anything unasked."""
    sock.setblocking(False)
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _of_this_user(sock: socket.socket) -> socket.socket:
    """Return the socket if who serves there is this user, else close it and raise GpuError."""
    user = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))[1]
    if user != os.geteuid():
        sock.close()
        raise GpuError(f"who holds weights there is user {user}, not this one")
    return sock
