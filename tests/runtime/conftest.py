"""A replica that runs in a thread, and the front of a test before it."""

from __future__ import annotations

import importlib.util
import mmap
import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from regrain.app import App
from regrain.wire import frames
from regrain.wire.codec import unpack
from regrain.wire.frames import Done, Extent, Segment
from regrain.wire.segments import Mappings, create
from regrain_runtime import loop

APPS = Path(__file__).parents[1] / "apps"


@pytest.fixture(scope="module")
def maps():
    spec = importlib.util.spec_from_file_location("maps_for_loop", APPS / "maps.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module.app
    del sys.modules[spec.name]


class Front:
    """The other end of a replica that runs in a thread: sends frames, keeps the segments."""

    timeout = 60.0

    def __init__(self, app: App) -> None:
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(self.timeout)
        cancel_fd, progress_fd = create(4096), create(4096)
        self.cancels = mmap.mmap(cancel_fd, 4096)
        self.progress = mmap.mmap(progress_fd, 4096)
        self.replica = loop.attach(app, theirs.detach(), cancel_fd, progress_fd)
        self.mappings = Mappings()
        self.reader: frames.FrameReader[frames.FromReplica] = frames.FrameReader(frames.FromReplica)
        self.inbox: list[frames.FromReplica] = []
        self.thread = threading.Thread(target=self.replica.serve)
        self.thread.start()

    def send(self, *sent: frames.ToReplica) -> None:
        self.sock.sendall(b"".join(map(frames.encode, sent)))

    def segment(self, number: int, nbytes: int) -> Extent:
        fd = create(nbytes)
        self.mappings.add(number, fd, nbytes, writable=True)
        socket.send_fds(self.sock, [frames.encode(Segment(number, nbytes, writable=True))], [fd])
        os.close(fd)
        return Extent(number, 0, nbytes, 100 + number)

    def receive(self) -> frames.FromReplica:
        while not self.inbox:
            self.inbox += self.reader.feed(self.sock.recv(1 << 20))
        return self.inbox.pop(0)

    def results(self, *sent: frames.ToReplica) -> list[frames.Result | frames.Fault | frames.Answered]:
        self.send(*sent)
        done = self.receive()
        assert isinstance(done, Done)
        return done.outcomes

    def value(self, parts: frames.Parts) -> object:
        items = [unpack(value, self.mappings) for value in parts.values]
        return items if parts.split else items[0]

    def end(self) -> None:
        self.sock.close()
        self.thread.join(self.timeout)
        assert not self.thread.is_alive()
        self.replica._sock.close()


@pytest.fixture
def front(maps):
    found = Front(maps)
    yield found
    found.end()


@pytest.fixture
def attach() -> type[Front]:
    """Put a front before a replica of an app; who does so ends it."""
    return Front
