"""One arbiter at one path."""

from __future__ import annotations

import signal
import stat

import pytest

pytestmark = pytest.mark.process


def test_a_path_has_one_arbiter(node):
    first = node.arbiter()

    said = node.refused_arbiter()

    assert said == f"error: another arbiter (process {first.pid}) serves at {node.path}: a GPU has one\n"
    assert node.status().sms == 100


def test_a_socket_that_nobody_serves_any_more_is_taken_over(node):
    first = node.arbiter()
    epoch = node.status().epoch
    first.signal(signal.SIGKILL)
    first.wait()
    assert node.path.is_socket()

    node.arbiter()

    assert node.status().epoch > epoch


def test_an_arbiter_that_ends_leaves_no_socket(node):
    arbiter = node.arbiter()

    assert arbiter.end() == ""
    assert not node.path.exists()


def test_only_its_user_may_connect(node):
    node.arbiter()

    assert stat.S_IMODE(node.path.stat().st_mode) == 0o600


def test_what_is_no_place_for_a_socket_is_named(node):
    node.path.write_text("precious")
    assert "there is something else than a socket" in node.refused_arbiter()
    assert node.path.read_text() == "precious"
    node.path = node.path.parent / "no" / "gpu.sock"
    assert (
        node.refused_arbiter() == f"error: no arbiter can serve at {node.path}: No such file or directory\n"
    )
    node.path = node.path.parents[1] / ("x" * 120)
    assert "AF_UNIX path too long" in node.refused_arbiter()
