"""`regrain gateway` as its users run it: a process of its own, reached by real clients alone."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

PATIENCE = 60.0
"""Seconds after which a state that does not come is a failure."""
LOOK = 0.02
BUGS = ("Traceback", "Exception in callback", "was never retrieved", "was never awaited")
"""What the gateway prints when it met something that its code did not foresee."""
CONFIG = "com.openfaas.docker.config"
APP = """
from regrain import App

app = App("hello", sample={{"name": "you"}})

@app.stage()
def greet(name: str) -> str:
    return f"{word} {{name}}"

@app.flow
def hello(name: str) -> str:
    return greet(name)
"""


def until(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> object:
    """Look until something holds and return it; fail after `patience` seconds."""
    end = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(LOOK)
    return found


def context(app: str, requirements: str = "regrain\n", **config: object) -> dict[str, str]:
    """Return the files that faas-cli sends of an app."""
    return {
        "context/template.yml": "language: regrain\nfprocess: regrain run function\n",
        "context/function/app.py": app,
        "context/function/requirements.txt": requirements,
        CONFIG: json.dumps({"image": "hello", **config}),
    }


def tarred(files: dict[str, str], *entries: tarfile.TarInfo) -> bytes:
    """Return an archive of files, and of entries without content."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
        for entry in entries:
            tar.addfile(entry)
    return archive.getvalue()


class Gateway:
    """A `regrain gateway` process, asked as clients ask it."""

    def __init__(
        self,
        state: Path,
        port: int = 0,
        prefix: Sequence[str] = (),
        metrics_port: int = 0,
        **environment: str,
    ) -> None:
        command = [sys.executable, "-m", "regrain_watchdog.cli", "gateway", "--state", str(state)]
        self.process = subprocess.Popen(
            [*prefix, *command, "--port", str(port), "--metrics-port", str(metrics_port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        self.said: list[str] = []
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        found = re.search(r"gateway on (http://\S+),", first)
        assert found is not None, first + self.process.stdout.read()
        self.url = found[1]
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        own = Path(f"/proc/{self.process.pid}/root") / state.relative_to("/")
        self.state = own if prefix else state  # its view of the files may be its own
        password = self.state / "basic-auth-password"
        self.auth = ("admin", password.read_text().strip()) if password.exists() else None

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.said.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.said)

    def answers(self) -> None:
        """Wait until its control plane does."""

        def asked() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return self.ask("GET", "/system/info").status_code == 200
            return False

        until(asked, "the control plane answers")

    def ask(self, method: str, path: str, **options: object) -> requests.Response:
        """Ask as an administrator, unless `auth` says otherwise."""
        options = {"auth": self.auth, "timeout": PATIENCE, **options}
        return requests.request(method, self.url + path, **options)  # type: ignore[arg-type]

    def invoke(self, name: str, path: str = "", **options: object) -> requests.Response:
        """Ask a function."""
        options = {"method": "POST", "timeout": PATIENCE, **options}
        return requests.request(url=f"{self.url}/function/{name}{path}", **options)  # type: ignore[arg-type]

    def submit(self, name: str, **options: object) -> requests.Response:
        """Ask a function to answer later."""
        return requests.post(f"{self.url}/async-function/{name}", timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def send(self, archive: bytes, key: bytes = b"") -> requests.Response:
        """Ask for a build, signed with the gateway's own key if no other is given."""
        secret = key or (self.state / "payload-secret").read_bytes().strip()
        signed = "sha256=" + hmac.new(secret, archive, hashlib.sha256).hexdigest()
        return self.ask("POST", "/build", data=archive, headers={"X-Build-Signature": signed})

    def build(self, word: str = "", app: str = "", requirements: str = "regrain\n") -> dict[str, object]:
        """Build the image hello: an app, or the one that greets with a word; return the last line."""
        answer = self.send(tarred(context(app or APP.format(word=word), requirements)))
        assert answer.status_code == 200, answer.text
        last: dict[str, object] = json.loads(answer.text.splitlines()[-1])
        return last

    def deploy(self, name: str = "hello", image: str = "hello", **fields: object) -> None:
        """Deploy a function, and wait until the front knows of it."""
        wanted = {"service": name, "image": image, **fields}
        answer = self.ask("POST", "/system/functions", json=wanted)
        assert answer.status_code in (200, 202), answer.text
        self.status(name)

    def status(self, name: str = "hello") -> dict[str, object]:
        """How a function does, once the front says so: the control plane answers without it if that takes long."""
        found: dict[str, object] = {}

        def told() -> bool:
            found.update(self.ask("GET", f"/system/function/{name}").json())
            return "state" in found

        until(told, f"the front tells how {name} does")
        return found

    def ready(self, name: str = "hello") -> None:
        """Wait until a function serves."""
        until(lambda: self.status(name).get("availableReplicas"), f"{name} is ready")

    def log(self, name: str = "hello") -> list[dict[str, str]]:
        """What a function has written, as far as it is kept."""
        answer = self.ask("GET", f"/system/logs?name={name}&follow=false")
        return [json.loads(line) for line in answer.text.splitlines()]

    def child(self, module: str) -> psutil.Process | None:
        """One of its two processes, `plane` or `control`; None while there is none."""
        for one in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if f"regrain_watchdog.gateway.{module}" in one.cmdline():
                    return one
        return None

    def replicas(self) -> list[psutil.Process]:
        """The processes of functions."""
        front = self.child("plane")
        with contextlib.suppress(psutil.NoSuchProcess):
            return front.children(recursive=True) if front is not None else []
        return []

    def murder(self, rng: random.Random) -> str:
        """Kill one of its processes, if it is there: the front, the control plane, or one of functions'; say which."""
        name = rng.choice(("plane", "control", "replica"))
        found = self.replicas() if name == "replica" else [self.child(name)]
        victim = rng.choice(found) if found else None
        if victim is None:
            return ""
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
        return name

    def living(self) -> list[psutil.Process]:
        """The processes of functions that have not ended."""
        found = []
        for one in self.replicas():
            with contextlib.suppress(psutil.NoSuchProcess):
                if one.status() != psutil.STATUS_ZOMBIE:
                    found.append(one)
        return found

    def end(self) -> int:
        """End it, and hold that it leaves nothing behind; return its exit code."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        assert not psutil.wait_procs(children, PATIENCE)[1]
        self._close()
        return code

    def kill(self) -> None:
        """Kill the first of its processes; the others end by themselves."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.wait(PATIENCE)
        assert not psutil.wait_procs(children, PATIENCE)[1]
        self._close()

    def _close(self) -> None:
        self._reading.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Load:
    """Clients that ask the function hello without a pause, by POST of a name; each with one connection.

    Attributes:
        answers: status and text, 0 and the reason where a connection was cut or refused.
    """

    def __init__(self, gateway: Gateway, clients: int = 4, name: str = "hello") -> None:
        self.answers: list[tuple[int, str]] = []
        self._url = f"{gateway.url}/function/{name}"
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._asking = [self._pool.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with requests.Session() as session:
            while not self._over.is_set():
                try:
                    answer = session.post(self._url, json={"name": "x"}, timeout=2 * PATIENCE)
                except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                    self.answers.append((0, str(error)))
                    self._over.wait(LOOK)
                else:
                    self.answers.append((answer.status_code, answer.text))

    def more(self, count: int) -> Callable[[], bool]:
        """Whether so many requests have been answered well from now on."""
        start = len(self.answers)
        return lambda: sum(status == 200 for status, _ in self.answers[start:]) >= count

    def has(self, text: str) -> Callable[[], bool]:
        """Whether an answer has been this of late."""
        return lambda: any(one[1] == text for one in self.answers[-20:])

    def end(self) -> None:
        """Have every client get its last answer."""
        self._over.set()
        self._pool.shutdown()
        for one in self._asking:
            one.result()


@pytest.fixture(scope="session", name="until")
def _until() -> Callable[..., object]:
    return until


@pytest.fixture(scope="session", name="tarred")
def _tarred() -> Callable[..., bytes]:
    return tarred


@pytest.fixture(scope="session", name="context")
def _context() -> Callable[..., dict[str, str]]:
    return context


@pytest.fixture(scope="session")
def greeting() -> Callable[[str], str]:
    """The source of an app that greets with a word."""
    return lambda word: APP.format(word=word)


@contextlib.contextmanager
def gateways(state: Path) -> Iterator[Callable[..., Gateway]]:
    """Start gateways over one folder, one after the other; they must end well and not have met a bug."""
    started: list[Gateway] = []

    def start(
        port: int = 0, prefix: Sequence[str] = (), metrics_port: int = 0, **environment: str
    ) -> Gateway:
        started.append(Gateway(state, port, prefix, metrics_port, **environment))
        started[-1].answers()
        return started[-1]

    try:
        yield start
    finally:
        codes = [one.end() for one in started if one.process.poll() is None]
        output = "".join(one.output for one in started)
        assert not any(codes), output
        assert not any(sign in output for sign in BUGS), output


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    """Start gateways over the test's folder, one after the other."""
    with gateways(tmp_path / "state") as start:
        yield start


@pytest.fixture(scope="module")
def module_start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Gateway]]:
    """As `start_gateway`, for a gateway that the tests of a module share."""
    with gateways(tmp_path_factory.mktemp("gateway") / "state") as start:
        yield start


@pytest.fixture
def gateway(start_gateway: Callable[..., Gateway]) -> Gateway:
    """A gateway of the test's own."""
    return start_gateway()


@pytest.fixture
def load() -> Iterator[Callable[..., Load]]:
    """Ask a function of a gateway without a pause."""
    with contextlib.ExitStack() as stack:

        def start(gateway: Gateway, clients: int = 4, name: str = "hello") -> Load:
            found = Load(gateway, clients, name)
            stack.callback(found.end)
            return found

        yield start


@pytest.fixture
def called() -> Iterator[object]:
    """A server to be called back."""
    found = runpy.run_path(str(Path(__file__).parent / "called.py"))["Called"]()
    yield found
    found.close()
