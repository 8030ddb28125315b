"""Speak to a running app as its operator does: change its grain, look at how it stands, read its gauges."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks import processes

TIMEOUT = 150.0
"""Seconds for one answer: a change may take as long as `start_timeout`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of grain as its operator saw it: sent and answered (time.monotonic), and what was answered."""

    grain: str
    sent: float
    answered: float
    status: int
    said: str

    @property
    def took(self) -> float:
        """Seconds from the command to the answer, which comes when the new plan is in force."""
        return self.answered - self.sent

    @property
    def is_made(self) -> bool:
        return self.status == HTTPStatus.OK


class Admin:
    """The admin port of an app, over one kept connection; one thread at a time."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def regrain(self, grain: str, replicas: str = "") -> Change:
        """Change the grain; returns once it is in force or was refused."""
        return self._change("/grain", grain, json.dumps({"grain": grain, "replicas": replicas}))

    def update(self) -> Change:
        """Serve the code as it is on disk now, under the grain in force: everything but the front is new then."""
        return self._change("/update", "", "{}")

    def status(self) -> dict[str, Any]:
        """Return what GET /status tells."""
        return json.loads(self._ask("GET", "/status")[1])

    def replicas(self) -> list[int]:
        """Return the pids of the replicas that serve."""
        return [
            one["pid"]
            for group in self.status()["groups"]
            for one in group["replicas"]
            if one["state"] == "ready"
        ]

    def settle(self) -> None:
        """Wait until no change is under way, the old plan's processes gone."""
        end = time.monotonic() + TIMEOUT
        while self._changing():
            if time.monotonic() > end:
                raise TimeoutError(f"a change was still under way after {TIMEOUT:g} s")
            time.sleep(processes.POLL)

    def close(self) -> None:
        self._connection.close()

    def _change(self, path: str, grain: str, wanted: str) -> Change:
        sent = time.monotonic()
        status, said = self._ask("POST", path, wanted)
        return Change(
            grain=grain,
            sent=sent,
            answered=time.monotonic(),
            status=status,
            said="" if status == HTTPStatus.OK else said.decode(errors="replace"),
        )

    def _changing(self) -> bool:
        changes = self.status()["transitions"]
        return bool(changes) and changes[0]["state"] not in ("done", "failed")

    def _ask(self, method: str, path: str, body: str = "") -> tuple[int, bytes]:
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        return response.status, response.read()


class Changer:
    """Changes the grain over and over, in a thread of its own; each after the one before has settled.

    Args:
        port: the app's admin port.
        grains: one after another, over and over.
        pause: gives the seconds between the end of a change and the next.
        most: how many at most.

    Attributes:
        changes: those that were made, and those that were refused.
    """

    def __init__(
        self, port: int, grains: Iterable[str], pause: Callable[[], float], most: int | None = None
    ) -> None:
        self.changes: list[Change] = []
        self._port = port
        self._grains = itertools.islice(itertools.cycle(grains), most)
        self._pause = pause
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    def took(self) -> list[float]:
        """Seconds of each change that was made, sorted."""
        return sorted(one.took for one in self.changes if one.is_made)

    @property
    def refused(self) -> list[str]:
        """What was said of those that were not made."""
        return [one.said for one in self.changes if not one.is_made]

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the change that is under way, if any was begun."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        admin = Admin(self._port)
        for grain in self._grains:
            if self._end.wait(self._pause()):
                break
            self.changes.append(admin.regrain(grain))
            admin.settle()
        admin.close()


def gauge(port: int, name: str, **labels: str) -> float:
    """Return a gauge of the metrics port, summed over the labels that are not given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
