"""A gateway under load while its processes die, while it is started again, and while functions write without end."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

PATIENCE = 60.0
LOOK = 0.02
SEED = 1
VICTIMS = ("plane", "control", "replica")
SECONDS = 20.0
"""That processes are killed for, at least."""
PAUSE = 0.7
"""Seconds from one kill to the next, on average."""
HELD = "__import__('socket').create_connection(('127.0.0.1',{port})).recv(1)"
"""A program that ends when it is told to."""
CHATTY = """
from regrain import App

app = App("hello", sample={"name": "you"})

@app.stage()
def greet(name: str) -> str:
    if name == "loud":
        for number in range(200_000):
            print(f"{number:06} " + "x" * 100)
        print("y" * 5_000_000, flush=True)
    return f"Hello {name}"

@app.flow
def hello(name: str) -> str:
    return greet(name)
"""


class Submit:
    """Clients that have the function hello answer later, without a pause, and its result sent to a URL.

    Attributes:
        ids: of the calls that were accepted.
    """

    def __init__(self, gateway: Any, callback: str, clients: int = 2) -> None:
        self.ids: set[str] = set()
        self._url = f"{gateway.url}/async-function/hello"
        self._callback = callback
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._asking = [self._pool.submit(self._ask, client) for client in range(clients)]

    def _ask(self, client: int) -> None:
        number = 0
        while not self._over.wait(LOOK):
            number += 1
            headers = {"X-Call-Id": f"{client}-{number}", "X-Callback-Url": self._callback}
            with contextlib.suppress(requests.ConnectionError):
                answer = requests.post(self._url, json={"name": "x"}, headers=headers, timeout=PATIENCE)
                if answer.status_code == 202:
                    self.ids.add(headers["X-Call-Id"])

    def end(self) -> None:
        """Have every client get its last answer."""
        self._over.set()
        self._pool.shutdown()
        for one in self._asking:
            one.result()


@pytest.fixture
def submit() -> Iterator[Callable[[Any, str], Submit]]:
    """Ask a function of a gateway to answer later, without a pause."""
    with contextlib.ExitStack() as stack:

        def start(gateway: Any, callback: str) -> Submit:
            found = Submit(gateway, callback)
            stack.callback(found.end)
            return found

        yield start


def test_a_function_that_writes_without_end_fills_neither_disk_nor_answer(gateway, until) -> None:
    assert gateway.build(app=CHATTY)["status"] == "success"
    gateway.deploy()
    loud = gateway.invoke("hello", json={"name": "loud"})
    until(lambda: any(line["text"].startswith("yyy") for line in gateway.log()), "all of it has been read")
    answer = gateway.ask("GET", "/system/logs?name=hello&follow=false&tail=10")
    files = until(lambda: log_files(gateway), "there are the file that is written and the one before")

    assert loud.text == "Hello loud"
    assert gateway.invoke("hello", json={"name": "x"}).text == "Hello x"
    assert len(answer.text.splitlines()) == 10
    assert max(len(line["text"]) for line in gateway.log()) <= 64 << 10
    assert sum(file.stat().st_size for file in files) <= 8 << 20
    assert "xxx" not in gateway.output


def log_files(gateway: Any) -> list[Path]:
    """The two files of a function's log; none while one takes the other's place."""
    files = list((gateway.state / "logs").rglob("hello*"))
    return files if len(files) == 2 else []


def test_a_gateway_that_is_started_again_under_load_loses_what_was_cut_off_and_nothing_else(
    start_gateway, load, until, free_ports: list[int]
) -> None:
    port = free_ports[0]
    first = start_gateway(port)
    assert first.build("Hello")["status"] == "success"
    first.deploy(labels={"com.openfaas.scale.min": "2"})
    asked = load(first)
    until(asked.more(20), "clients are answered")
    assert first.end() == 0
    second = start_gateway(port)
    until(asked.more(20), "clients are answered again")
    second.kill()
    third = start_gateway(port)
    until(asked.more(20), "clients are answered once more")
    asked.end()

    assert {status for status, _ in asked.answers} == {0, 200}
    assert {text for status, text in asked.answers if status == 200} == {"Hello x"}
    assert third.auth == second.auth == first.auth
    until(lambda: third.status().get("availableReplicas") == 2, "two replicas")


def test_the_log_of_a_function_that_was_removed_while_there_was_no_front_goes_with_the_next_one(
    start_gateway, tmp_path: Path
) -> None:
    left = tmp_path / "state" / "logs" / "openfaas-fn" / "hello.log"
    left.parent.mkdir(parents=True)
    left.touch()

    start_gateway()

    assert not left.exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> list[str]:
    """What starts a command whose state folder is a disk of its own, of 32 MiB."""
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    mount = f"mkdir -p {tmp_path}/state && mount -t tmpfs -o size=32m regrain {tmp_path}/state"
    tried = subprocess.run([*alone, "sh", "-c", mount], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a disk that can be filled needs a mount: {tried.stderr.strip()}")
    return [*alone, "sh", "-c", f'{mount} && exec "$@"', "sh"]


def test_calls_that_the_disk_does_not_take_are_refused_and_none_that_it_took_is_lost(
    start_gateway, small_disk: list[str], called, until
) -> None:
    gateway = start_gateway(prefix=small_disk)
    ballast = gateway.state / "ballast"
    ballast.write_bytes(bytes(24 << 20))
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.ready("cat")
    headers = {"X-Callback-Url": called.url}
    called.listens.clear()  # so all that is taken stays on the disk
    answers = [gateway.submit("cat", data=b"x" * 500_000, headers=headers) for _ in range(20)]
    codes = [answer.status_code for answer in answers]
    taken = {answer.headers["X-Call-Id"] for answer in answers if answer.status_code == 202}
    served = gateway.invoke("cat", data=b"still there")
    ballast.unlink()
    called.listens.set()
    until(lambda: gateway.submit("cat", data=b"x").status_code == 202, "calls are taken again", PATIENCE)
    until(lambda: taken <= set(called.calls), "what was taken is called back", PATIENCE)

    assert set(codes) == {202, 507}
    assert "could not be kept" in answers[codes.index(507)].json()["detail"]
    assert served.text == "still there"
    assert set(called.calls) == taken


def test_sigterm_lets_what_was_accepted_end(gateway, until) -> None:
    port = int(gateway.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(2) as pool:
        listening.settimeout(PATIENCE)
        program = HELD.format(port=listening.getsockname()[1])
        gateway.deploy("held", "functions/alpine", envProcess=f"{sys.executable} -c {program}")
        answer = pool.submit(gateway.invoke, "held")
        with listening.accept()[0]:  # the request is under way
            code = pool.submit(gateway.end)
            until(lambda: is_refused(port), "nobody else is accepted")
        outcome = answer.result()

    assert outcome.status_code == 200
    assert code.result() == 0


def is_refused(port: int) -> bool:
    """Whether nobody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it was closed while the kernel let us in
        return True
    return False


@pytest.mark.timeout(300)
def test_only_cut_connections_fail_and_no_call_is_lost_while_processes_are_killed(
    gateway, load, submit, called, until
) -> None:
    assert gateway.build("Hello")["status"] == "success"
    gateway.deploy(labels={"com.openfaas.scale.min": "2"})
    gateway.ready()
    asked, accepted = load(gateway), submit(gateway, called.url)
    until(asked.more(20), "clients are answered")
    rng = random.Random(SEED)
    killed: Counter[str] = Counter()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end or not all(killed[victim] for victim in VICTIMS):
        for _ in range(
            2
        ):  # the second may hit what starts again; more of them would be a function that never starts
            killed[gateway.murder(rng)] += 1
            time.sleep(rng.expovariate(1 / PAUSE))
        until(asked.more(1), "clients are answered again")
    until(asked.more(20), "clients are answered as before")
    asked.end()
    accepted.end()
    until(lambda: accepted.ids <= set(called.calls), "what was accepted is called back", PATIENCE)
    gateway.answers()

    assert Counter(one for one in asked.answers if one[0] not in {0, 200}) == {}
    assert {text for status, text in asked.answers if status == 200} == {"Hello x"}
    assert set(called.statuses) == {"200"}
    assert len(accepted.ids) > 20
