"""Apps as their users run them: `regrain run` in a process of its own, reached by real clients alone."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from regrain_watchdog.front.config import options
from regrain_watchdog.front.remote import wire

APPS = Path(__file__).parent / "apps"
ROOT = Path(__file__).parents[2]
CUDA = """
from regrain_runtime.gpu.fake import FakeCuda

_driver = FakeCuda()


def __getattr__(name):
    return getattr(_driver, name)
"""
MARK = "INTEGRATION_TEST_ID"
"""A variable that all processes of one server inherit, so that those it left behind are found."""
PATIENCE = 60.0
"""Seconds after which a state that does not come is a failure."""
LOOK = 0.01
"""Seconds between two looks for a state."""
BUGS = ("Exception in callback", "was never retrieved", "was never awaited", "failed unexpectedly")
"""What a front prints when it met something that its code did not foresee."""
READY = re.compile(r"regrain: ready in .*: (?P<app>\S+) on (?P<http>\S+), grain (?P<grain>.*)")
OPERATED = re.compile(r"regrain: metrics on (?P<metrics>\S+), admin on (?P<admin>\S+)")
ANNOUNCED = re.compile(r"^.* \.\.\.\n", re.MULTILINE)
"""What a command says where something takes it longer than its user waits without asking."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.process)


def problem(response: requests.Response, status: int, said: str = "", stage: str | None = None) -> dict:
    """Hold a response to what every error of ours is."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    told = response.json()
    assert told["status"] == status
    assert told["title"]
    assert "Traceback" not in response.text
    assert told["call_id"] == response.headers["X-Call-Id"]
    assert said in told["detail"]
    assert told.get("stage") == stage
    return told


def until(holds: Callable[[], object], what: str, patience: float = PATIENCE) -> object:
    """Look until something holds and return it; fail after `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(LOOK)


class Served:
    """A `regrain run` process: where it listens, what it printed, and how to end it."""

    def __init__(self, target: Path | str, *flags: str, folder: Path, **settings: str) -> None:
        self.mark = uuid.uuid4().hex
        self.folder = folder
        environment = {name: text for name, text in os.environ.items() if not name.startswith("REGRAIN_")}
        environment |= {MARK: self.mark, "XDG_RUNTIME_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
        environment |= {f"REGRAIN_{name.upper()}": text for name, text in settings.items()}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "regrain_watchdog.cli",
                "run",
                str(target),
                *_ports(str(target), flags),
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def said(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until it has printed what a pattern finds."""

        def found() -> object:
            said_all = not self._reading.is_alive()
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            assert not said_all, f"it ended without saying {pattern}:\n{self.output}"
            return None

        match = until(found, f"the line {pattern} in\n{self.output}")
        assert isinstance(match, re.Match)
        return match

    def ready(self) -> Served:
        """Wait until it serves."""
        ready = self.said(READY)
        operated = self.said(OPERATED)
        self.app, self.url, self.grain = ready["app"], ready["http"], ready["grain"]
        self.metrics_url, self.admin_url = operated["metrics"], operated["admin"]
        self.port = int(self.url.rpartition(":")[2])
        return self

    def post(self, data: object = b"", **options: object) -> requests.Response:
        path = options.pop("path", "/")
        return requests.post(f"{self.url}{path}", data=data, timeout=PATIENCE, **options)  # type: ignore[arg-type]

    def call(self, **values: object) -> requests.Response:
        return requests.post(self.url, json=values, timeout=PATIENCE)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self.url}{path}", timeout=PATIENCE)

    def status(self) -> dict[str, object]:
        return requests.get(f"{self.admin_url}/status", timeout=PATIENCE).json()

    def replicas(self, state: str = "ready") -> list[int]:
        """The pids of the replicas that are in a state, each once."""
        found = [one for group in self.status()["groups"] for one in group["replicas"] if not one["guest"]]
        return [one["pid"] for one in found if one["state"] == state]

    def zygote(self) -> int:
        """The pid of the process that replicas are forked from."""
        (found,) = psutil.Process(self.process.pid).children()
        return found.pid

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value, summed over the labels that are not given; 0.0 where there is none."""
        page = requests.get(f"{self.metrics_url}/metrics", timeout=PATIENCE).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def processes(self) -> list[psutil.Process]:
        """Every living process of it, whoever its parent is now."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Wait until it has ended with all its processes; return its exit code."""
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        until(lambda: not self.processes(), f"all processes are gone but {self.processes()}")
        return code

    def stop(self) -> int:
        """End it as an operator would, and return its exit code."""
        if self.process.poll() is None:
            self.signal()
        return self.ended()

    def destroy(self) -> None:
        """Leave nothing behind, whatever a test did to it."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


def _ports(target: str, flags: tuple[str, ...]) -> list[str]:
    """A flag for each port that a test does not choose itself: any free one; none of gRPC for an upstream."""
    names = [option.flag for option in options() if option.name == "port" or option.name.endswith("_port")]
    chosen = dict.fromkeys(names, "0")
    if target.startswith("wsgi:") or "--upstream-url" in flags:
        chosen["--grpc-port"] = "off"
    return [text for name, port in chosen.items() if name not in flags for text in (name, port)]


@contextlib.contextmanager
def serving(target: Path | str, *flags: str, folder: Path, **settings: str) -> Iterator[Served]:
    """Serve an app for a block's length; afterwards it must have ended well, unless the block ended it."""
    served = Served(target, *flags, folder=folder, **settings)
    try:
        yield served.ready()
        if served.process.poll() is None:
            assert served.stop() == 0, served.output
        assert not any(sign in served.output for sign in BUGS), served.output
    finally:
        served.destroy()


def signed(
    pod: Served,
    key: Path,
    body: bytes = b"",
    *,
    path: str = wire.PREFIX,
    method: str = "GET",
    version: str = "",
    epoch: int = 0,
    **headers: str,
) -> requests.Response:
    """Ask a pod as another one does: of its own version, unless another is given."""
    secret = key.read_text()
    version = version or requests.get(f"{pod.admin_url}/manifest", timeout=PATIENCE).json()["digest"]
    signature = wire.signature(secret, method, path, body, version=version, epoch=epoch)
    fields = {wire.VERSION: version, wire.EPOCH: str(epoch), wire.SIGNATURE: signature, **headers}
    return requests.request(method, f"{pod.url}{path}", data=body, headers=fields, timeout=PATIENCE)


@pytest.fixture(scope="session", name="until")
def _until() -> Callable[..., object]:
    return until


@pytest.fixture(scope="session", name="problem")
def _problem() -> Callable[..., dict]:
    return problem


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Serve an app of `apps/` (or a path) with flags; returns once it is ready."""
    with contextlib.ExitStack() as stack:

        def start(target: Path | str, *flags: str, **settings: str) -> Served:
            return stack.enter_context(serving(_target(target), *flags, folder=tmp_path, **settings))

        yield start


@pytest.fixture
def fake_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what is started from here on find a stand-in for CUDA's driver."""
    bindings = tmp_path / "libraries" / "cuda" / "bindings"
    bindings.mkdir(parents=True)
    for package in (bindings.parent, bindings):
        (package / "__init__.py").touch()
    (bindings / "driver.py").write_text(CUDA)
    known = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "libraries"), known]))


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Run `regrain run` for something that need not become ready."""
    with contextlib.ExitStack() as stack:

        def start(target: Path | str, *flags: str, **settings: str) -> Served:
            served = Served(_target(target), *flags, folder=tmp_path, **settings)
            stack.callback(served.destroy)
            return served

        yield start


@pytest.fixture
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with the secret that the pods of a test share, which its module calls SECRET."""
    file = tmp_path / "secret"
    file.write_text(request.module.SECRET)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="session")
def sums() -> Callable[[int], list[float]]:
    """What `relay.py` answers to a count."""
    return lambda count: [number * 2.0 * 5000 for number in range(count)]


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """A copy of `relay.py` that a test may change."""
    copy = tmp_path / "relay.py"
    copy.write_text((APPS / "relay.py").read_text())
    return copy


@pytest.fixture(scope="session")
def staffed() -> Callable[[Served], set[str]]:
    """The groups that a pod has replicas of."""
    return lambda pod: {group["name"] for group in pod.status()["groups"] if group["replicas"]}


@pytest.fixture(scope="session", name="signed")
def _signed() -> Callable[..., requests.Response]:
    return signed


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """A collector of traces, to which whatever is served sends its spans at once."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="regrain[otel] is not installed")
    receiver = runpy.run_path(str(ROOT / "tests" / "collector.py"))["Receiver"]()
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def module_serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """As `serve`, for servers that the tests of a module share."""
    with contextlib.ExitStack() as stack:

        def start(target: Path | str, *flags: str, **settings: str) -> Served:
            folder = tmp_path_factory.mktemp("run")
            return stack.enter_context(serving(_target(target), *flags, folder=folder, **settings))

        yield start


@pytest.fixture
def run_cli(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command of `regrain` beside the servers of `serve`; that it takes long is left out of what it says."""

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "regrain_watchdog.cli", *args],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        )
        done.stderr = ANNOUNCED.sub("", done.stderr)
        return done

    return run


def _target(target: Path | str) -> Path | str:
    inside = APPS / target
    return inside if str(target) != "." and inside.exists() else target
