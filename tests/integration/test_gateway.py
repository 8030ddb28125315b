"""`regrain gateway` as a whole: built, deployed, invoked, updated and removed over HTTP, while its processes die."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

PATIENCE = 30.0
APP = """
from regrain import App

print("imported {word}", flush=True)
app = App("hello", sample={{"name": "you"}})

@app.stage()
def greet(name: str) -> str:
    return f"{word} {{name}}"

@app.flow
def hello(name: str) -> str:
    return greet(name)
"""


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.02)


class Gateway:
    """A `regrain gateway` process, asked as clients ask it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        command = [sys.executable, "-m", "regrain_watchdog.cli", "gateway", "--state", str(state)]
        self.process = subprocess.Popen(
            [*command, "--port", "0", "--metrics-port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        found = re.search(r"gateway on (http://\S+),", self.process.stdout.readline())
        assert found is not None
        self.url = found[1]
        self.said: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        self.auth = ("admin", (state / "basic-auth-password").read_text().strip())
        until(lambda: self.ask("GET", "/system/info").status_code == 200, "the control plane")

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        """Ask as an administrator."""
        return requests.request(method, self.url + path, auth=self.auth, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def invoke(self, name: str, path: str = "", **options: object) -> requests.Response:
        """Ask a function."""
        options = {"method": "POST", **options}
        return requests.request(url=f"{self.url}/function/{name}{path}", timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def build(self, word: str) -> None:
        """Build the image hello that greets with a word."""
        template = "language: regrain\nfprocess: regrain run function\n"
        self.build_of("hello", template, "app.py", APP.format(word=word))

    def build_of(self, image: str, template: str, name: str, text: str) -> None:
        """Build an image of a handler of one file."""
        files = {
            "context/template.yml": template,
            f"context/function/{name}": text,
            "context/function/requirements.txt": "regrain\n",
            "com.openfaas.docker.config": json.dumps({"image": image}),
        }
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for path, content in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content.encode()))
        key = (self.state / "payload-secret").read_bytes().strip()
        signed = "sha256=" + hmac.new(key, archive.getvalue(), hashlib.sha256).hexdigest()
        answer = self.ask("POST", "/build", data=archive.getvalue(), headers={"X-Build-Signature": signed})
        last = json.loads(answer.text.splitlines()[-1])
        assert last["status"] == "success", answer.text

    def deploy(self, name: str = "hello", image: str = "hello", **fields: object) -> None:
        """Deploy a function."""
        wanted = {"service": name, "image": image, **fields}
        answer = self.ask("POST", "/system/functions", json=wanted)
        assert answer.status_code in (200, 202), answer.text

    def status(self, name: str = "hello") -> dict[str, object]:
        """How a function does."""
        found: dict[str, object] = self.ask("GET", f"/system/function/{name}").json()
        return found

    def ready(self, name: str = "hello") -> None:
        """Wait until a function serves."""
        until(lambda: self.status(name).get("availableReplicas"), f"{name} is ready")

    def child(self, module: str) -> psutil.Process:
        """One of its two processes."""
        [found] = [
            one
            for one in psutil.Process(self.process.pid).children()
            if f"regrain_watchdog.gateway.{module}" in one.cmdline()
        ]
        return found

    def end(self) -> int:
        """End it, and hold that it leaves nothing behind; return its exit code."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        assert not psutil.wait_procs(children, PATIENCE)[1]
        self._reading.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    found = Gateway(tmp_path / "state")
    try:
        yield found
    finally:
        if found.process.poll() is None:
            assert found.end() == 0


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


def greeted(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_function_is_built_deployed_invoked_and_removed(gateway: Gateway) -> None:
    gateway.build("Hello")
    gateway.deploy()

    first = gateway.invoke("hello", json={"name": "you"}, headers={"X-Call-Id": "mine"})
    named = gateway.invoke("hello.openfaas-fn", json={"name": "me"})
    below = gateway.invoke("hello", "/_/ready", method="GET")
    gateway.ready()
    logs = gateway.ask("GET", "/system/logs?name=hello&follow=false").text
    removed = gateway.ask("DELETE", "/system/functions", json={"functionName": "hello"})
    until(lambda: gateway.invoke("hello", json={}).status_code == 404, "the function has gone")

    assert (greeted(first), greeted(named)) == ("Hello you", "Hello me")
    assert first.headers["X-Call-Id"] == "mine"
    assert len(named.headers["X-Call-Id"]) == 36
    assert int(named.headers["X-Start-Time"]) > 0
    assert float(named.headers["X-Duration-Seconds"]) > 0
    assert below.status_code == 200
    assert "imported Hello" in logs
    assert removed.status_code == 202


def test_commands_and_redirects_take_any_verb_and_hand_on_path_query_and_body(gateway: Gateway) -> None:
    gateway.ask("POST", "/system/secrets", json={"name": "key", "value": "sesame"})
    gateway.deploy("env", "functions/alpine:latest", envProcess="env", envVars={"A": "b"})
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.deploy("wc", "functions/alpine", envProcess="wc -c", envVars={"REGRAIN_MAX_BODY": "100"})
    gateway.deploy("secret", "functions/alpine", envProcess="cat /var/openfaas/secrets/key", secrets=["key"])
    gateway.deploy("false", "functions/alpine", envProcess="false")
    gateway.deploy("slow", "functions/alpine", envProcess="sleep 60", envVars={"exec_timeout": "100ms"})
    gateway.deploy("red", "theaxer/redirector", envVars={"destination": "http://example.org/x"})
    for name in ("env", "cat", "wc", "secret", "false", "slow", "red"):
        gateway.ready(name)

    told = dict(
        line.split("=", 1)
        for line in gateway.invoke("env", "/a/b?c=d", method="GET", headers={"X-My": "1"}).text.splitlines()
    )
    chunks = gateway.invoke("cat", data=iter([b"one ", b"two"]))
    redirected = gateway.invoke("red", method="GET", allow_redirects=False)
    verbs = [
        gateway.invoke("env", method=verb).status_code
        for verb in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
    ]
    logs = gateway.ask("GET", "/system/logs?name=cat&follow=false").text

    assert told.items() >= {
        ("A", "b"),
        ("Http_Method", "GET"),
        ("Http_Path", "/a/b"),
        ("Http_Query", "c=d"),
        ("Http_X_My", "1"),
    }
    assert chunks.text == "one two"
    assert (redirected.status_code, redirected.headers["Location"]) == (302, "http://example.org/x")
    assert verbs == [200] * 7
    assert gateway.invoke("secret").text == "sesame"
    assert gateway.invoke("wc", data=b"x" * 101).status_code == 413
    assert gateway.invoke("false").status_code == 500
    assert gateway.invoke("slow").status_code == 504
    assert "Forking fprocess" in logs
    assert "Wrote 7 Bytes" in logs


SITE = """
import os, sys

def app(environ, start_response):
    length = environ.get("CONTENT_LENGTH") or (None if "gunicorn.socket" in environ else 0)
    sent = environ["wsgi.input"].read(*[int(length)] if length is not None else [])
    print("asked for", environ["PATH_INFO"], flush=True)
    start_response("201 Created", [("Content-Type", "text/plain"), ("X-Own", os.environ.get("A", ""))])
    return [" ".join([environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], ""]).encode() + sent]

if __name__ == "__main__":
    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""


@pytest.mark.parametrize("kind", ["wsgi", "http"])
def test_a_server_is_a_function_too(gateway: Gateway, kind: str, free_port: int) -> None:
    gateway.build_of("site", "language: flask\nfprocess: wsgi:main:app\n", "main.py", SITE)
    variables = (
        {"A": "b", "upstream_url": f"http://127.0.0.1:{free_port}/under"} if kind == "http" else {"A": "b"}
    )
    command = f"{sys.executable} main.py {free_port}" if kind == "http" else "wsgi:main:app"
    prefix = "/under" if kind == "http" else ""
    gateway.deploy("site", "site", envProcess=command, envVars=variables)
    gateway.ready("site")

    whole = gateway.invoke("site", "/a%20b?c=d", method="PUT", data=b"x" * 100_000)
    chunks = gateway.invoke("site", data=iter([b"one ", b"two"])) if kind == "wsgi" else None
    head = gateway.invoke("site", method="HEAD")
    logs = gateway.ask("GET", "/system/logs?name=site&follow=false").text
    server = [one for one in gateway.child("plane").children(recursive=True) if one.status() != "zombie"]
    gateway.ask("POST", "/system/scale-function/site", json={"serviceName": "site", "replicas": 0})
    _, left = psutil.wait_procs(server, PATIENCE)
    woken = gateway.invoke("site", method="GET")

    assert (whole.status_code, whole.headers["X-Own"]) == (201, "b")
    assert whole.text == f"PUT {prefix}/a b c=d " + "x" * 100_000
    assert chunks is None or chunks.text == "POST /  one two"  # wsgiref reads no chunks
    assert (head.status_code, head.text) == (201, "")
    assert f"asked for {prefix}/a b" in logs
    assert not left
    assert woken.status_code == 201


class Load:
    """Clients that ask a function without a pause."""

    def __init__(self, gateway: Gateway, clients: int = 4) -> None:
        self.answers: list[tuple[int, str]] = []
        self._gateway = gateway
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._asking = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                answer = session.post(
                    f"{self._gateway.url}/function/hello", json={"name": "x"}, timeout=PATIENCE
                )
                self.answers.append((answer.status_code, answer.text))

    def has(self, text: str) -> Callable[[], bool]:
        return lambda: any(one[1] == text for one in self.answers[-20:])

    def end(self) -> None:
        self._over.set()
        for one in self._asking:
            one.result(PATIENCE)
        self._pool.shutdown()


def test_an_update_under_load_fails_no_request_and_one_that_does_not_start_changes_nothing(
    gateway: Gateway,
) -> None:
    gateway.build("Old")
    gateway.deploy()
    load = Load(gateway)
    until(load.has("Old x"), "the first version answers")
    gateway.build("New")
    gateway.deploy()
    until(load.has("New x"), "the second version answers")
    gateway.deploy(envVars={"REGRAIN_GRAIN": "no such stage"})
    until(lambda: gateway.status().get("detail"), "the third version has failed")
    load.end()

    assert {status for status, _ in load.answers} == {200}
    assert {text for _, text in load.answers} == {"Old x", "New x"}
    assert "no such stage" in str(gateway.status()["detail"])
    assert gateway.status()["state"] == "ready"
    logs = gateway.ask("GET", "/system/logs?name=hello&follow=false").text
    assert "did not start" in logs


def test_a_function_at_zero_has_no_process_and_is_started_by_a_request(gateway: Gateway) -> None:
    gateway.build("Hello")
    gateway.deploy()
    gateway.ready()
    front = gateway.child("plane")
    before = len(front.children(recursive=True))
    gateway.ask("POST", "/system/scale-function/hello", json={"serviceName": "hello", "replicas": 0})
    until(lambda: not front.children(), "no process is left")
    asleep = gateway.status()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: gateway.invoke("hello", json={"name": "you"}), range(8)))

    assert before == 2  # zygote and replica
    assert (asleep["state"], asleep.get("replicas", 0)) == ("zero", 0)
    assert [greeted(one) for one in answers] == ["Hello you"] * 8
    assert gateway.status()["replicas"] == 1


def test_replicas_are_as_many_as_are_asked_for(gateway: Gateway) -> None:
    gateway.build("Hello")
    gateway.deploy(labels={"com.openfaas.scale.min": "2"})
    until(lambda: gateway.status().get("availableReplicas") == 2, "two replicas")
    gateway.ask("POST", "/system/scale-function/hello", json={"serviceName": "hello", "replicas": 3})
    until(lambda: gateway.status().get("availableReplicas") == 3, "three replicas")

    assert len(gateway.child("plane").children(recursive=True)) == 4


def test_replicas_follow_the_load_and_go_where_nobody_asks(gateway: Gateway) -> None:
    gateway.build("Hello")
    scale = "com.openfaas.scale."
    labels = {
        "min": "1",
        "max": "2",
        "target": "1",
        "zero": "true",
        "zero-duration": "2s",
        "down.window": "1s",
    }
    gateway.deploy(labels={scale + name: text for name, text in labels.items()})
    load = Load(gateway)
    until(lambda: gateway.status().get("availableReplicas") == 2, "two replicas under load")
    load.end()
    until(lambda: gateway.status().get("state") == "zero", "none without")
    again = gateway.invoke("hello", json={"name": "you"})

    assert {status for status, _ in load.answers} == {200}
    assert greeted(again) == "Hello you"


def test_functions_serve_on_without_the_control_plane_and_come_back_with_the_front(gateway: Gateway) -> None:
    gateway.build("Hello")
    gateway.deploy()
    gateway.deploy("cat", "functions/alpine", envProcess="cat")
    gateway.ready()
    gateway.child("control").suspend()  # it neither answers nor is started again
    served = [greeted(gateway.invoke("hello", json={"name": "you"})) for _ in range(20)]
    gateway.child("control").kill()
    killed = [greeted(gateway.invoke("hello", json={"name": "you"})) for _ in range(20)]
    before = gateway.child("plane")
    orphans = before.children(recursive=True)
    before.kill()
    before.wait(PATIENCE)
    again = greeted(gateway.invoke("hello", json={"name": "again"}))

    assert served == killed == ["Hello you"] * 20
    assert again == "Hello again"
    assert gateway.invoke("cat", data=b"x").text == "x"
    assert gateway.child("plane").pid != before.pid
    assert not psutil.wait_procs(orphans, PATIENCE)[1]
