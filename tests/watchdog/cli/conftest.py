"""Run the command in this process, and servers for it to talk to."""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regrain_watchdog.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: object
    out: str
    err: str


Regrain = Callable[..., Outcome]


@pytest.fixture
def regrain(capsys: pytest.CaptureFixture[str], tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> Regrain:
    """Run `regrain` with arguments; run files are the test's own, and it does not say that it takes long."""
    monkeypatch.setattr("regrain_watchdog.cli.progress.PATIENCE", 3600.0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    monkeypatch.delenv("REGRAIN_URL", raising=False)

    def run(*args: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(args)
        captured = capsys.readouterr()
        return Outcome(ended.value.code, captured.out, captured.err)

    return run


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # children of background jobs ignore it
from regrain_watchdog.cli.main import main
main()
"""


@pytest.fixture
def interruptible() -> list[str]:
    """How to start the command so that SIGINT reaches it wherever the tests run."""
    return [sys.executable, "-c", INTERRUPTIBLE]


@dataclass
class Stub:
    """A server that answers as a test says.

    Attributes:
        url: where it listens.
        answers: status, headers and body by path.
        asked: headers of the requests so far, by path.
    """

    url: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def stub():
    """Start a server that answers as the test says."""
    started = []

    def start() -> Stub:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                made.asked.append((self.path, dict(self.headers)))
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, headers, body = made.answers[self.path]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - as http.server names them

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        started.append((server, thread))
        made = Stub(f"http://127.0.0.1:{server.server_port}")
        return made

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()
