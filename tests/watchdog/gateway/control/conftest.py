"""The control plane as a process under gunicorn, and a server that speaks as the front does."""

from __future__ import annotations

import base64
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest

from regrain_watchdog.gateway.control.front import Connection
from regrain_watchdog.gateway.credentials import Credentials
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Image, Standing
from regrain_watchdog.gateway.store import Store

PATIENCE = 60.0
PIECE = 65536


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class FrontServer:
    """Answers the control plane on the front's socket: with these standings, counting what it is told."""

    def __init__(self, path: Path) -> None:
        self.standings: list[Standing] = []
        self.changes = 0
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                assert self.path == "/functions"
                self.answer(200, msgspec.json.encode(front.standings))

            def do_POST(self) -> None:
                assert self.path == "/changed"
                front.changes += 1
                self.answer(202, b"")

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Control:
    """A control plane's process over a folder of its own, on its socket or on an address."""

    def __init__(self, folder: Path, address: str = "", **settings: object) -> None:
        self.address = address
        self.settings = Settings(state=str(folder), **settings)
        self.store = Store(self.settings.database)
        self.store.put_image(Image(name="hello", kind="app", folder="/hello"))
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "regrain_watchdog.gateway.control", self.settings.encode()]
        if self.address:
            command.append(self.address)
        with (self.settings.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/system/info").status == 200
        except OSError:
            return False

    @property
    def output(self) -> str:
        return (self.settings.folder / "output").read_text()

    @property
    def authorization(self) -> dict[str, str]:
        one = Credentials.load(self.settings.folder)
        return {"Authorization": "Basic " + base64.b64encode(f"{one.user}:{one.password}".encode()).decode()}

    def connect(self) -> HTTPConnection:
        if self.address:
            return HTTPConnection(self.address, timeout=PATIENCE)
        connection = Connection(self.settings.control_socket)
        connection.timeout = PATIENCE
        return connection

    def open(
        self, connection: HTTPConnection, method: str, path: str, value: object = None, **headers: str
    ) -> HTTPResponse:
        """Send a request; values travel in chunks, as the real gateway relays them."""
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        pieces = (data[start : start + PIECE] for start in range(0, len(data), PIECE))
        body = None if value is None else pieces
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(
            method, path, body, {"Host": "127.0.0.1:8080", **self.authorization, **named}, encode_chunked=True
        )
        return connection.getresponse()

    def request(self, method: str, path: str, value: object = None, **headers: str) -> Answer:
        connection = self.connect()
        try:
            response = self.open(connection, method, path, value, **headers)
            found = {name.lower(): text for name, text in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        os.killpg(self.process.pid, number)
        return self.process.wait(PATIENCE)

    def clear(self) -> None:
        """Remove all that a test has made."""
        for function in self.store.functions():
            self.store.remove(function.deployment.service, function.deployment.namespace)
        for secret in self.store.secrets():
            self.store.remove_secret(secret.name, secret.namespace)
        for namespace in self.store.namespaces():
            if namespace.name != "openfaas-fn":
                self.store.remove_namespace(namespace.name)


@pytest.fixture(scope="module")
def module_control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Control]:
    control = Control(tmp_path_factory.mktemp("gateway"))
    yield control
    assert control.stop() == 0, control.output
    control.store.close()
    assert "Traceback" not in control.output


@pytest.fixture
def control(module_control: Control) -> Iterator[Control]:
    """A control plane that tests of a module share, empty at first."""
    yield module_control
    module_control.clear()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Control]]:
    """Start a control plane of the test's own, with settings."""
    started: list[Control] = []

    def run(**settings: object) -> Control:
        started.append(Control(tmp_path, **settings))
        return started[-1]

    yield run
    for control in started:
        control.stop()
        control.store.close()


@pytest.fixture
def front(control: Control) -> Iterator[FrontServer]:
    """The front that the control plane asks."""
    path = control.settings.front_socket
    path.unlink(missing_ok=True)
    server = FrontServer(path)
    yield server
    server.stop()
    path.unlink()
