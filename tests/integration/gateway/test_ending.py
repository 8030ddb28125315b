"""How `regrain gateway` ends what does not end by itself."""

from __future__ import annotations

import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests


def listens(path: Path) -> bool:
    """Whether somebody takes connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as one:
        return one.connect_ex(str(path)) == 0


def test_a_front_that_is_told_twice_cuts_off_what_is_under_way(gateway, until) -> None:
    gateway.deploy("slow", "functions/alpine", envProcess="sleep 60", envVars={"exec_timeout": "0"})
    gateway.ready("slow")
    front = gateway.child("plane")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.invoke, "slow")
        until(lambda: gateway.log("slow"), "the request is under way")
        front.terminate()
        until(lambda: not listens(gateway.state / "front.sock"), "the front has heard it")
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have cut the request off by itself
            front.terminate()

        with pytest.raises(requests.ConnectionError):
            answer.result()

    gateway.answers()
