"""An app in memory behind a real gRPC server, and `regrain run` as its users have it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest
import requests

from regrain_watchdog.front.config import Config
from regrain_watchdog.front.grpc.server import Server
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.oip.inference import Inference

PATIENCE = 60.0
APPS = Path(__file__).parents[3] / "apps"


class OverGrpc:
    """A gRPC server on any free port, and a channel to it."""

    def __init__(self, loop, service, measure, server):
        self.loop, self.service, self.measure, self.server = loop, service, measure, server
        self.address = server.address
        self.channel = grpc.insecure_channel(self.address)

    def call(self, path, message=b"", **options):
        """Call a unary method with bytes; return its answer and its trailing metadata."""
        method = self.channel.unary_unary(path, bytes, bytes)
        answer, call = method.with_call(message, timeout=PATIENCE, **options)
        return answer, dict(call.trailing_metadata())


@pytest.fixture
def grpc_serve(loop, app_of, echo_service):
    made = []

    async def start(service, config):
        measure = Measure(latency=config.latency(service.manifest))
        server = Server(Inference(service), measure, config)
        await server.start()
        return OverGrpc(loop, service, measure, server)

    def serve(manifest=None, behave=None, **settings):
        service = echo_service(manifest or app_of(), behave)
        served = loop.run(start(service, Config(**({"grpc_port": 0} | settings))))
        made.append(served)
        return served

    yield serve
    for served in made:
        served.channel.close()
        loop.run(served.server.stop(1.0))


class RunningApp:
    """A `regrain run` process."""

    def __init__(self, app, folder, *flags):
        environment = {name: text for name, text in os.environ.items() if not name.startswith("REGRAIN_")}
        environment |= {"XDG_RUNTIME_DIR": str(folder), "PYTHONUNBUFFERED": "1"}
        ports = ["--port", "0", "--metrics-port", "0", "--grpc-port", "0"]
        command = [sys.executable, "-m", "regrain_watchdog.cli", "run", str(APPS / app), *ports, *flags]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines = []
        self._news = threading.Condition()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        self.url = self.said(r"ready in .* on (http://\S+),")
        self.admin = self.said(r"admin on (http\S+)")
        ports = requests.get(f"{self.admin}/status", timeout=PATIENCE).json()["ports"]
        self.http = f"127.0.0.1:{ports['http']}"
        self.grpc = f"127.0.0.1:{ports['grpc']}"

    def said(self, pattern):
        """Wait for a line and return what the pattern found in it."""

        def found():
            return next((m[1] for line in self.lines if (m := re.search(pattern, line))), None)

        with self._news:
            assert self._news.wait_for(found, PATIENCE), "\n".join(self.lines)
            return found()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reading.join(PATIENCE)
        self.process.stdout.close()
        return code

    def _read(self):
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()


@pytest.fixture(scope="module")
def run_app(tmp_path_factory):
    """Serve an app of tests/apps (or a path) by `regrain run` for a module's tests."""
    with contextlib.ExitStack() as stack:

        def run(app):
            running = RunningApp(app, tmp_path_factory.mktemp("run"))
            stack.callback(running.process.kill)
            stack.callback(_stop_well, running)
            return running

        yield run


def _stop_well(running):
    assert running.stop() == 0, "\n".join(running.lines)


@pytest.fixture(scope="module")
def running_tensors(run_app):
    """tests/apps/tensors.py, served for a module's tests."""
    return run_app("tensors.py")
