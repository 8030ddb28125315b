"""Logs over the REST contract: lines of JSON, chosen and followed."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from regrain_watchdog.gateway.control import logs
from regrain_watchdog.gateway.control.__main__ import told_to_end
from regrain_watchdog.gateway.control.logs import FOLLOWERS, Logs
from regrain_watchdog.gateway.journal import Journal, Line
from regrain_watchdog.gateway.spec import Deployment, Image
from regrain_watchdog.gateway.store import Store

pytestmark = pytest.mark.process
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def journal(control):
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello"})
    journal = Journal(control.settings.log("openfaas-fn", "hello"))
    yield journal
    journal.remove()


def write(journal: Journal, number: int) -> None:
    moment = BEGIN + timedelta(seconds=number)
    journal.write(
        Line(
            name="hello",
            namespace="openfaas-fn",
            instance=str(number % 2),
            timestamp=moment,
            text=f"line {number}",
        )
    )


def texts(answer) -> list[str]:
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["transfer-encoding"] == "chunked"
    return [json.loads(line)["text"] for line in answer.body.splitlines()]


def test_a_function_that_wrote_nothing_has_an_empty_log(control, journal):
    assert texts(control.request("GET", "/system/logs?name=hello")) == []


def test_a_line_has_openfaas_fields(control, journal):
    write(journal, 0)

    assert json.loads(control.request("GET", "/system/logs?name=hello&follow=false&tail=-1").body) == {
        "name": "hello",
        "namespace": "openfaas-fn",
        "instance": "0",
        "timestamp": "2026-01-01T00:00:00Z",
        "text": "line 0",
    }


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("tail=2", [2, 3]),
        ("tail=0", [0, 1, 2, 3]),
        ("instance=1", [1, 3]),
        ("since=2026-01-01T00:00:02Z", [2, 3]),
        ("since=2026-01-01T02:00:02%2B02:00", [2, 3]),
        ("since=2026-01-01T00:00:02.123456789Z", [3]),
        ("since=2026-01-01T00:00:01&tail=1", [3]),
        ("namespace=openfaas-fn", [0, 1, 2, 3]),
    ],
)
def test_lines_are_chosen(control, journal, query, numbers):
    for number in range(4):
        write(journal, number)

    found = texts(control.request("GET", f"/system/logs?name=hello&{query}"))

    assert found == [f"line {number}" for number in numbers]


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("name=hello&tail=many", 400, "tail:"),
        ("name=hello&tail=100000000000000000000", 400, "tail:"),
        ("name=hello&since=today", 400, "since:"),
        ("name=nope", 404, "No such function: nope"),
        ("name=../../basic-auth-password", 404, "No such function"),
        ("name=hello&namespace=..%2F..", 400, "namespace:"),
        ("", 404, "No such function"),
    ],
)
def test_a_query_that_cannot_be_is_refused(control, journal, query, status, said):
    refused = control.request("GET", f"/system/logs?{query}")

    assert refused.status == status
    assert said in refused.text


def test_lines_that_come_are_sent_as_they_come(control, journal):
    connection = control.connect()
    response = control.open(connection, "GET", "/system/logs?name=hello&follow=true")
    assert response.status == 200

    found = []
    for number in range(3):
        write(journal, number)
        found.append(json.loads(response.readline())["text"])
    connection.close()

    assert found == ["line 0", "line 1", "line 2"]


def test_those_who_follow_leave_threads_for_others(start):
    control = start()
    control.request("POST", "/system/functions", {"service": "hello", "image": "hello"})
    following = [control.connect() for _ in range(FOLLOWERS)]
    for connection in following:
        assert control.open(connection, "GET", "/system/logs?name=hello&follow=true").status == 200

    assert control.request("GET", "/system/logs?name=hello&follow=true").status == 429
    assert control.request("GET", "/system/logs?name=hello").status == 200
    for connection in following:
        connection.close()


def test_who_follows_hears_the_end_of_a_control_plane_that_is_told_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "FOLLOW", 3600.0)
    told = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    store = Store(tmp_path / "gateway.db")
    try:
        store.put(
            Deployment(service="hello", image="hello").validated(),
            Image(name="hello", kind="app", folder="/hello"),
        )
        app = Flask(__name__)
        app.register_blueprint(Logs(store, lambda *_: tmp_path / "hello.log", told_to_end()).blueprint())
        following = app.test_client().get("/system/logs?name=hello&follow=true", buffered=False)
        signal.raise_signal(signal.SIGTERM)
        rest = following.get_data()
    finally:
        store.close()
        signal.signal(signal.SIGTERM, before)

    assert (rest, told) == (b"", [signal.SIGTERM])
