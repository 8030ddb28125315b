"""What changes of a serving app are held against: callers that ask all the while, and the admin port."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

PATIENCE = 60.0
"""Seconds that a caller waits for an answer."""
Ask = Callable[[requests.Session, random.Random], str]
"""Asks once; returns what was not as it should be, empty if all was."""


class Load:
    """Callers that ask one after another, until told to end; what they met that was not as it should be is kept."""

    def __init__(self, ask: Ask, callers: int = 4) -> None:
        self.answered = 0
        self.wrong: list[str] = []
        self._ask = ask
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self._running = [self._pool.submit(self._call, seed) for seed in range(callers)]

    def _call(self, seed: int) -> None:
        rng = random.Random(seed)
        with requests.Session() as session:
            while not self._end.is_set():
                try:
                    wrong = self._ask(session, rng)
                except (requests.RequestException, ValueError) as error:
                    wrong = repr(error)
                if wrong:
                    self.wrong.append(wrong)
                self.answered += 1

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()
        for one in self._running:
            one.result()


@pytest.fixture(scope="session")
def asking() -> type[Load]:
    """Have callers ask for a block's length."""
    return Load


@pytest.fixture(scope="session")
def operate() -> Callable[..., requests.Response]:
    """Ask the admin port of an app for something."""

    def ask(served, path: str, **wanted: object) -> requests.Response:
        return requests.post(f"{served.admin_url}{path}", json=wanted, timeout=PATIENCE)

    return ask


@pytest.fixture(scope="session")
def settled() -> Callable[..., bool]:
    """Whether the last change of an app is over."""
    return lambda served: served.status()["transitions"][0]["state"] in ("done", "failed")


@pytest.fixture(scope="session")
def grpc_address() -> Callable[..., str]:
    """Where an app is asked over gRPC."""
    return lambda served: f"127.0.0.1:{served.status()['ports']['grpc']}"
