"""A gateway that is measured, and its API."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import processes, product

PATIENCE = 120.0
HELLO = (product.EXAMPLES / "hello" / "app.py").read_text(encoding="utf-8")
GREETING = b'{"name": "world"}'
JSON = {"Content-Type": "application/json"}


class Gateway:
    """A `regrain gateway` process, asked as an administrator.

    Attributes:
        served: its processes.
        state: its folder.
    """

    def __init__(self, served: processes.Served, state: Path) -> None:
        self.served = served
        self.state = state
        self.url = f"http://127.0.0.1:{served.port}"

    @property
    def password(self) -> str:
        """The administrator's."""
        return (self.state / "basic-auth-password").read_text(encoding="utf-8").strip()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Ask, with bytes or a JSON value; return status and body."""
        user = base64.b64encode(f"admin:{self.password}".encode()).decode()
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.served.port, timeout=PATIENCE)
        try:
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, sent, {"Authorization": f"Basic {user}", **JSON, **named})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def build(self, app: str, image: str = "hello") -> None:
        """Build an image of an app without requirements."""
        archive = _archive(app, image)
        key = (self.state / "payload-secret").read_bytes().strip()
        signed = "sha256=" + hmac.new(key, archive, hashlib.sha256).hexdigest()
        _, said = self.ask("POST", "/build", archive, X_Build_Signature=signed)
        if json.loads(said.splitlines()[-1])["status"] != "success":
            raise SystemExit(f"{image} was not built: {said.decode()}")

    def deploy(self, name: str = "hello", **fields: object) -> None:
        """Deploy the image hello."""
        self._must("POST", "/system/functions", {"service": name, "image": "hello", **fields})

    def scale(self, name: str, replicas: int) -> None:
        """Have so many replicas."""
        self._must("POST", f"/system/scale-function/{name}", {"serviceName": name, "replicas": replicas})

    def functions(self) -> list[dict[str, Any]]:
        """Return how all functions do."""
        status, said = self.ask("GET", "/system/functions")
        return list(json.loads(said)) if status == http.HTTPStatus.OK else []

    def answers(self, name: str = "hello", said: bytes = b"world", patience: float = PATIENCE) -> None:
        """Wait until a function answers so."""
        until(lambda: said in request(name).send(self.served.port)[1], f"{name} answers {said!r}", patience)

    def processes(self, module: str) -> list[int]:
        """Return those of its processes that run a module."""
        return [pid for pid in self.served.pids() if f"-m\0{module}\0" in _command(pid)]

    def _must(self, method: str, path: str, value: object) -> None:
        status, said = self.ask(method, path, value)
        if status not in {200, 202}:
            raise SystemExit(f"{method} {path}: {status} {said.decode()}")


@contextlib.contextmanager
def serve() -> Iterator[Gateway]:
    """Run a gateway of one's own, in a new folder."""
    port = processes.free_ports(2, 18700)
    with tempfile.TemporaryDirectory(prefix="regrain-bench-") as folder:
        Path(folder).chmod(0o755)  # functions have users of their own
        state = Path(folder) / "state"
        command = [sys.executable, "-m", "regrain_watchdog.cli", "gateway", "--state", str(state)]
        command += ["--port", str(port), "--metrics-port", str(port + 1)]
        with processes.Served([command], port=port, name="gateway") as served:
            gateway = Gateway(served, state)
            until(
                lambda: gateway.ask("GET", "/system/info")[0] == http.HTTPStatus.OK, "the gateway", PATIENCE
            )
            yield gateway


def request(name: str = "hello") -> processes.Request:
    """Return a request to a function that is examples/hello."""
    return processes.Request(GREETING, path=f"/function/{name}", headers=JSON)


def until(holds: Callable[[], object], what: str, patience: float) -> None:
    """Wait for something; exit with a sentence if it does not come."""

    def look() -> object:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return holds()
        return False

    if not processes.until(look, bool, patience):
        raise SystemExit(f"not within {patience:g} s: {what}")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    return ""


def _archive(app: str, image: str) -> bytes:
    """Return what faas-cli sends of an app."""
    files = {
        "context/template.yml": "language: regrain\nfprocess: regrain run function\n",
        "context/function/app.py": app,
        "com.openfaas.docker.config": json.dumps({"image": image}),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return archive.getvalue()
