"""HTTP processes and WSGI apps behind the front, as their users run them."""

from __future__ import annotations

import concurrent.futures
import signal
import sys
from pathlib import Path

import pytest
import requests

PLAIN = Path(__file__).parent / "apps" / "plain_server.py"
FLASK = """
import os, pathlib, time
from flask import Flask, request
while not pathlib.Path("go").exists():
    time.sleep(0.01)
app = Flask(__name__)

@app.post("/<path:path>")
def echo(path):
    return path + request.get_data(as_text=True)
"""


@pytest.fixture
def plain(serve, free_ports):
    """Serve plain_server.py behind the front."""

    def start(*flags, **settings):
        command = f"{sys.executable} {PLAIN} {free_ports[0]}"
        return serve(
            ".",
            "--upstream-url",
            f"http://127.0.0.1:{free_ports[0]}",
            "--fprocess",
            command,
            *flags,
            **settings,
        )

    return start


def test_a_wsgi_app_is_ready_once_it_is_loaded_and_is_told_as_an_app(attempt, until, tmp_path, free_ports):
    (tmp_path / "web.py").write_text(FLASK)
    served = attempt("wsgi:web:app", "--port", str(free_ports[0]))
    url = f"http://127.0.0.1:{free_ports[0]}"

    served.said("Booting worker")
    early = requests.get(f"{url}/_/ready", timeout=60), requests.get(f"{url}/_/health", timeout=60)
    refused = requests.post(f"{url}/a", timeout=60)
    (tmp_path / "go").touch()
    served.ready()

    assert [answer.status_code for answer in early] == [503, 200]
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert served.post(b"c", path="/a/b").text == "a/bc"
    assert served.get("/_/ready").status_code == 200
    assert (served.app, served.grain, served.status()["state"]) == ("web", "upstream", "ready")
    served.said(rf"regrain: try it with: curl {served.url}")
    refused = requests.post(f"{served.admin_url}/grain", json={"grain": "fine"}, timeout=60)
    assert (refused.status_code, refused.json()["detail"].partition("; ")[2]) == (
        405,
        "an upstream has no plan to change",
    )
    assert served.metric("http_requests_total", code="200", method="POST") == 1
    assert served.metric("regrain_stage_items_total", stage="upstream") == 1
    told = served.status()
    assert (told["load"]["requests"], told["slo"], told["scheme"]) == (2, None, "http")
    assert served.stop() == 0


def test_a_wsgi_app_that_cannot_be_loaded_ends_the_start(attempt, tmp_path):
    (tmp_path / "web.py").write_text("raise ImportError('no such luck')")
    served = attempt("wsgi:web:app")

    assert served.ended() == 1
    assert "no such luck" in served.output
    assert served.lines[-1] == "regrain: the upstream ended before it was ready: exit code 3"


@pytest.mark.parametrize("flag", ["--grain=fine", "--adapt", "--grpc-port=0"])
def test_a_setting_of_stages_is_bad_input(attempt, flag):
    served = attempt("wsgi:web:app", flag)

    assert served.ended() == 2
    said = f"{flag.partition('=')[0]} is for apps; an upstream has no stages, and speaks HTTP alone"
    assert said in served.output


def test_a_program_that_does_not_exist_is_bad_input(attempt):
    served = attempt(".", "--upstream-url", "http://127.0.0.1:1", "--fprocess", "no-such-program --at all")

    assert served.ended() == 2
    assert "there is no program 'no-such-program'" in served.output


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_that_ends_is_started_again_however_it_ended(plain, until, code):
    served = plain()
    first = served.get("/").text

    died = served.get(f"/exit?code={code}")

    def again():
        answer = served.get("/")
        return answer.status_code == 200 and answer.text != first

    assert died.status_code == 502
    assert died.headers["X-OpenFaaS-Internal"] == "regrain"
    until(again, "another process serves")
    assert served.get("/_/ready").status_code == 200
    served.said(rf"ended \(exit code {code}\); starting it again")


def test_readiness_follows_the_path_that_tells_it(attempt, until, tmp_path, free_ports, monkeypatch):
    monkeypatch.setenv("WAITS_FOR", str(tmp_path / "go"))
    command = f"{sys.executable} {PLAIN} {free_ports[0]}"
    url, port = f"http://127.0.0.1:{free_ports[0]}", str(free_ports[1])
    served = attempt(".", "--upstream-url", url, "--fprocess", command, "--ready-path", "/up", "--port", port)
    front = f"http://127.0.0.1:{port}"

    until(lambda: _text(f"{front}/") is not None, "the upstream answers")
    said = "the upstream answers GET /up with 503"
    until(lambda: _text(f"{front}/_/ready") == said, "it is told to be unready")
    (tmp_path / "go").touch()
    served.ready()

    until(lambda: _text(f"{front}/_/ready") == "OK", "it is told to be ready")


def _text(url: str) -> str | None:
    try:
        answer = requests.get(url, timeout=60)
    except requests.ConnectionError:
        return None
    return answer.text if "problem" not in answer.headers.get("Content-Type", "") else None


def test_an_image_for_of_watchdog_runs_as_it_is(serve, tmp_path, free_ports, monkeypatch):
    upstream, port = free_ports[:2]
    image = {"mode": "http", "fprocess": f"{sys.executable} {PLAIN} {upstream}", "port": str(port)}
    image |= {
        "upstream_url": f"http://127.0.0.1:{upstream}",
        "exec_timeout": "8s",
        "TMPDIR": str(tmp_path),
    }
    for name, text in image.items():
        monkeypatch.setenv(name, text)

    served = serve(".", "--host", "127.0.0.1", "--grpc-port", "off")
    late = served.get("/?seconds=60")

    assert served.port != upstream
    assert served.get("/").status_code == 200
    assert late.status_code == 504
    assert (tmp_path / ".lock").exists()
    assert served.stop() == 0
    assert not (tmp_path / ".lock").exists()


NEVER_OPEN = "Failed to establish a new connection"
"""What is said of a connection that was refused, or reset while it was made: no request was sent over it."""


@pytest.mark.parametrize("interval", ["0", "300ms"])
def test_sigterm_under_load_loses_no_request_though_the_process_dies_of_it(plain, until, interval):
    """of-watchdog hands SIGTERM to its child at once, and what is in flight is lost with it."""
    served = plain("--healthcheck-interval", interval, "--max-inflight", "4")
    answered, lost = [], []

    def load(keeps: bool) -> None:
        session = requests.Session()
        while True:
            try:
                answer = session.post(f"{served.url}/?seconds=0.02", data=b"x", timeout=60)
            except requests.ConnectionError as error:
                if NEVER_OPEN not in str(error):
                    lost.append(error)
                return
            (answered if answer.status_code == 200 else lost).append(answer)
            if not keeps:
                session.close()
                session = requests.Session()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loading = [pool.submit(load, bool(place % 2)) for place in range(8)]
        until(lambda: len(answered) > 100, "it is under load")
        served.signal()
        concurrent.futures.wait(loading, timeout=60)

    assert lost == []
    assert served.ended() == 0


def test_a_request_in_flight_outlives_sigterm_and_a_second_one_ends_everything(plain, until):
    served = plain()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(served.get, "/?seconds=60")
        until(lambda: served.metric("http_requests_in_flight") == 1, "the request is in flight")
        served.signal()
        served.said("regrain: draining")
        assert served.process.poll() is None
        served.signal(signal.SIGINT)
        answer = slow.result(60)

    assert answer.status_code == 502
    assert served.ended() == 1


def test_the_process_is_ended_with_a_front_that_was_killed(plain, until):
    served = plain()

    served.signal(signal.SIGKILL)
    served.process.wait(60)

    until(lambda: not served.processes(), "nothing is left")


def test_slow_callers_do_not_hold_the_place_of_others(plain):
    served = plain("--max-inflight", "1")
    slow = served.connect()
    slow.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 10\r\n\r\nhalf")

    answer = served.get("/")
    slow.close()

    assert answer.status_code == 200
