"""The real of-watchdog before an app of ours, and our front in its place before a Flask app under gunicorn.

OF_WATCHDOG names the binary (https://github.com/openfaas/of-watchdog, 0.11).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

OF_WATCHDOG = shutil.which(os.environ.get("OF_WATCHDOG", ""))
HELLO = Path(__file__).parents[2] / "examples" / "hello"
RUN = [sys.executable, "-m", "regrain_watchdog.cli", "run"]
PATIENCE = 60.0
REQUESTS = 64
FLASK = """
from flask import Flask, request

app = Flask(__name__)

@app.route("/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def echo(path):
    said = f"{request.method} {path} {request.query_string.decode()} "
    return said.encode() + request.get_data(), 201, {"X-Mine": request.headers.get("X-Yours", "")}
"""
needs_of_watchdog = pytest.mark.skipif(
    OF_WATCHDOG is None, reason="OF_WATCHDOG does not name of-watchdog's binary"
)
Watch = Callable[..., str]


@pytest.fixture
def watch(tmp_path: Path, free_ports: list[int], until) -> Iterator[Watch]:
    """Start a watchdog before a command that listens on the first free port; return its URL once that answers."""
    with contextlib.ExitStack() as stack:

        def start(watchdog: list[str], command: str, ask: Callable[[str], requests.Response]) -> str:
            upstream, port, metrics = free_ports[:3]
            told = {"mode": "http", "fprocess": command, "upstream_url": f"http://127.0.0.1:{upstream}"}
            told |= {"port": str(port), "TMPDIR": str(tmp_path), "REGRAIN_METRICS_PORT": str(metrics)}
            told |= {"XDG_RUNTIME_DIR": str(tmp_path), "healthcheck_interval": "1s"}
            process = subprocess.Popen(
                watchdog, env={**os.environ, **told}, cwd=tmp_path, start_new_session=True
            )
            stack.callback(_end, process)
            url = f"http://127.0.0.1:{port}"

            def answered() -> bool:
                with contextlib.suppress(requests.ConnectionError):
                    return ask(url).ok
                return False

            until(answered, "the function answers", PATIENCE)
            return url

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):  # of-watchdog leaves its child to the container
            os.killpg(process.pid, signal.SIGKILL)


@needs_of_watchdog
def test_of_watchdog_serves_an_app_of_ours(watch: Watch, free_ports: list[int]) -> None:
    def ask(url: str, name: str = "you") -> requests.Response:
        return requests.post(url, json={"name": name}, headers={"X-Call-Id": name}, timeout=PATIENCE)

    ports = f"--port {free_ports[0]} --metrics-port 0 --admin-port 0 --grpc-port off"
    url = watch([str(OF_WATCHDOG)], f"{' '.join(RUN)} {HELLO} {ports}", ask)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(url, f"n{number}"), range(REQUESTS)))
    wrong = requests.post(url, json={"nobody": 1}, timeout=PATIENCE)

    assert [answer.text for answer in answers] == [f"Hello, n{number}!" for number in range(REQUESTS)]
    assert [answer.headers["X-Call-Id"] for answer in answers] == [f"n{number}" for number in range(REQUESTS)]
    assert wrong.status_code == 400
    assert wrong.headers["Content-Type"] == "application/problem+json"
    assert "X-OpenFaaS-Internal" not in wrong.headers
    assert requests.get(f"{url}/_/health", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    "watchdog",
    [
        pytest.param(RUN, id="regrain"),
        pytest.param([str(OF_WATCHDOG)], id="of-watchdog", marks=needs_of_watchdog),
    ],
)
def test_flask_under_gunicorn_is_served_alike(
    watch: Watch, watchdog: list[str], tmp_path: Path, free_ports: list[int]
) -> None:
    (tmp_path / "web.py").write_text(FLASK)
    gunicorn = f"{sys.executable} -m gunicorn --no-control-socket --threads 4"

    def ask(url: str, method: str = "POST", body: object = b"body") -> requests.Response:
        headers = {"X-Yours": "mine"}
        return requests.request(method, f"{url}/a/b?c=d&c=e", data=body, headers=headers, timeout=PATIENCE)

    url = watch(watchdog, f"{gunicorn} --bind 127.0.0.1:{free_ports[0]} web:app", ask)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: ask(url, body=str(number)), range(REQUESTS)))
    verbs = {verb: ask(url, verb).text for verb in ("GET", "PUT", "PATCH", "DELETE")}

    assert [answer.text for answer in answers] == [f"POST a/b c=d&c=e {number}" for number in range(REQUESTS)]
    assert {(answer.status_code, answer.headers["X-Mine"]) for answer in answers} == {(201, "mine")}
    assert verbs == {verb: f"{verb} a/b c=d&c=e body" for verb in verbs}
    assert float(answers[0].headers["X-Duration-Seconds"]) > 0
    assert (
        requests.post(f"{url}/nowhere/../a", data=iter([b"x", b"y"]), timeout=PATIENCE).text == "POST a  xy"
    )
