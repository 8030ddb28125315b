"""What many tests need."""

from __future__ import annotations

import contextlib
import socket

import pytest


@pytest.fixture
def free_ports() -> list[int]:
    """Four ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(4)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
