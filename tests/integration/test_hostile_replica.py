"""A replica that writes to its socket what no honest one would: it is ended, and the front serves on as before."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil
import pytest

HOSTILE = Path(__file__).parents[2] / "benchmarks" / "apps" / "hostile.py"
GOOD = b"good"
MESSAGES = 100
SLACK = 4
"""Descriptors: of segments that results of another size brought along."""


def ask(served, body, **headers):
    return served.post(body, headers={"Content-Type": "application/octet-stream"} | headers)


@pytest.mark.parametrize(
    ("app", "grain", "accept"),
    [
        pytest.param("app", "fine", "*/*", id="a result that goes to another replica"),
        pytest.param("app", "coarse", "*/*", id="an answer"),
        pytest.param("flowing", "coarse", "application/x-ndjson", id="items one by one"),
        pytest.param("flowing", "coarse", "application/json", id="items together"),
    ],
)
def test_whatever_a_replica_sends_every_good_request_is_answered(serve, until, app, grain, accept):
    served = serve(f"{HOSTILE}:{app}", "--grain", grain, "--hang-timeout", "8s", "--log-level", "error")
    assert ask(served, GOOD).status_code == 200
    front, family = psutil.Process(served.process.pid), len(served.processes())
    held, first, statuses = front.num_fds(), set(served.replicas()), set()

    for number in range(MESSAGES):
        statuses.add(_said(served, str(number).encode(), accept))
        assert ask(served, GOOD, Accept=accept).status_code == 200

    assert statuses <= {"200", "404", "500", "502", "504", "cut off"}
    assert set(served.replicas()) != first
    until(lambda: len(served.processes()) == family, "as many processes as before")
    until(lambda: front.num_fds() <= held + SLACK, f"no more than {held} descriptors")
    until(lambda: not _zombies(front), "whatever ended is reaped")


def _zombies(front):
    found = []
    for child in front.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(child.status())
    return found.count(psutil.STATUS_ZOMBIE)


def _said(served, body, accept):
    """The status of a request that has its replica send something; "cut off" where the answer broke off."""
    try:
        return str(ask(served, body, Accept=accept).status_code)
    except OSError:  # requests' own errors are such
        return "cut off"
