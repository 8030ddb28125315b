"""Clients that ask a function of a gateway without a pause, and tell what became of it."""

from __future__ import annotations

import http.client
import threading
import time

from benchmarks import processes
from benchmarks.gateway import served
from benchmarks.gateway.served import Gateway

PAUSE = 0.01
"""Seconds from one request of a client to the next: the gateway is to be loaded, not the machine."""


class Callers:
    """Threads that ask the function hello; each request has a connection of its own.

    Attributes:
        good, cut, bad: requests that were answered 200, whose connection was refused or cut, and all others.
        unlike: the last few of those others.
    """

    def __init__(self, gateway: Gateway, clients: int) -> None:
        self.good = self.cut = self.bad = 0
        self.unlike: list[str] = []
        self._port = gateway.served.port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once all have their answers."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        request = served.request()
        while not self._over.wait(PAUSE):
            self._note(*_sent(request, self._port))

    def _note(self, status: int, said: bytes) -> None:
        with self._lock:
            if status == http.HTTPStatus.OK:
                self.good += 1
            elif status:
                self.bad += 1
                self.unlike = [*self.unlike[-2:], f"{status} {said[:200].decode(errors='replace')}"]
            else:
                self.cut += 1


class Submitters:
    """Threads that have the function hello answer later, its result to be sent to a port of this machine.

    Attributes:
        accepted: when each call was accepted, by its id.
    """

    def __init__(self, gateway: Gateway, callback: int, clients: int) -> None:
        self.accepted: dict[str, float] = {}
        self._port = gateway.served.port
        self._callback = f"http://127.0.0.1:{callback}/"
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once all have their answers."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: int) -> None:
        number = 0
        while not self._over.wait(PAUSE):
            number += 1
            name = f"{client}-{number}"
            headers = {**served.JSON, "X-Call-Id": name, "X-Callback-Url": self._callback}
            request = processes.Request(served.GREETING, path="/async-function/hello", headers=headers)
            if _sent(request, self._port)[0] == http.HTTPStatus.ACCEPTED:
                self.accepted[name] = time.monotonic()


def _sent(request: processes.Request, port: int) -> tuple[int, bytes]:
    """Send a request; return status and body, status 0 where the connection was refused or cut."""
    try:
        return request.send(port, timeout=served.PATIENCE)
    except TimeoutError:
        return http.HTTPStatus.GATEWAY_TIMEOUT, b"no answer"
    except (OSError, http.client.HTTPException):
        return 0, b""
