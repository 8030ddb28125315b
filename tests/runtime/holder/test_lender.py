"""A lender whose holder, a process that a test has in its place, answers wrongly, late or not at all."""

import contextlib
import ctypes
import mmap
import os
import signal
import socket

import pytest

from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake_memory import FakeMemory
from regrain_runtime.holder import frames
from regrain_runtime.holder import lender as lending
from regrain_runtime.holder.lender import HolderLostError

pytestmark = pytest.mark.process


def handles_of(node, *contents):
    """Return handles of device memory that holds this."""
    memory = CudaDriver(FakeMemory(folder=node.card))
    handles = []
    for content in contents:
        file = node.file.with_suffix(".more")
        file.write_bytes(content)
        address = memory.allocate(1, node.size)
        with file.open("rb") as opened:
            memory.fill(1, address, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ))
        handles.append(memory.export(1, address))
    return handles


@contextlib.contextmanager
def standing_in(node, serve):
    """Have a process that runs serve(listener) in the place of a holder."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(node.path))
        listener.listen()
        child = os.fork()
        if not child:
            with contextlib.suppress(Exception):  # what is missing then, the test says
                serve(listener)
            signal.pause()
        try:
            yield
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def answer(peer, key, handle, *, nbytes, epoch=1):
    """Send the answer to the next question, or to one that has been asked."""
    peer.send(frames.encode(frames.Lent(key, nbytes, handle, epoch)))


def test_a_loan_of_another_epoch_than_those_held_is_not_used(node):
    first, second = handles_of(node, node.content, node.content)

    def serve(listener):
        peer, _ = listener.accept()
        for epoch, (key, handle) in enumerate((("a", first), ("b", second))):
            peer.recv(frames.ROOM)
            answer(peer, key, handle, nbytes=node.size, epoch=epoch)

    with standing_in(node, serve):
        lender = node.lender()
        loan = node.borrow(lender, "a")
        with pytest.raises(HolderLostError, match="must start anew"):
            node.borrow(lender, "b")
        assert loan.epoch == 0


def test_a_late_answer_is_not_taken_for_that_to_the_next_question(node, monkeypatch):
    late, right = handles_of(node, node.content, b"another." * (node.size // 8))
    told, tell = os.pipe()

    def serve(listener):
        peer, _ = listener.accept()
        peer.recv(frames.ROOM)
        os.read(told, 1)
        with contextlib.suppress(OSError):
            answer(peer, "late", late, nbytes=node.size)
        peer, _ = listener.accept()
        peer.recv(frames.ROOM)
        answer(peer, "right", right, nbytes=node.size)

    with standing_in(node, serve), open(told, "rb"), open(tell, "wb", buffering=0) as teller:
        lender = node.lender()
        with monkeypatch.context() as patch:
            patch.setattr(lending, "COPY", 0.1)
            with pytest.raises(GpuError, match="does not answer"):
                node.borrow(lender, "late")
        teller.write(b"!")

        assert ctypes.string_at(node.borrow(lender, "right").address, 8) == b"another."


def test_a_holder_that_does_not_answer_is_lost_to_those_that_have_memory_of_it(node, monkeypatch):
    [handle] = handles_of(node, node.content)

    def serve(listener):
        peer, _ = listener.accept()
        peer.recv(frames.ROOM)
        answer(peer, "a", handle, nbytes=node.size)
        while peer.recv(frames.ROOM):  # what else it is asked, until the lender has left
            pass

    with standing_in(node, serve):
        lender = node.lender()
        loan = node.borrow(lender, "a")
        monkeypatch.setattr(lending, "COPY", 0.1)
        with pytest.raises(HolderLostError, match="must start anew"):
            node.borrow(lender, "b")
        assert lender.lends
        assert ctypes.string_at(loan.address, 8) == b"weights."


@pytest.mark.parametrize(("key", "nbytes"), [("other", 65536), ("net", 65537)])
def test_an_answer_to_something_else_is_refused(node, key, nbytes):
    [handle] = handles_of(node, node.content)

    def serve(listener):
        peer, _ = listener.accept()
        peer.recv(frames.ROOM)
        answer(peer, key, handle, nbytes=nbytes)

    with (
        standing_in(node, serve),
        pytest.raises(
            GpuError, match=f"it answers for {key} of {nbytes} bytes, asked was net of {node.size}"
        ),
    ):
        node.borrow(node.lender(), "net")
