"""Calls that are run later, over the REST contract."""

from __future__ import annotations

import random
import time

import pytest

from regrain_watchdog.gateway.later.call import Call
from regrain_watchdog.gateway.later.table import Table

pytestmark = pytest.mark.process


@pytest.fixture
def table(control):
    opened = Table(control.settings.database)
    yield opened
    with opened.database.writing() as db:
        db.execute("DELETE FROM calls")
    opened.close()


def add(table, call_id, *, dead=False, **values):
    call = Call(
        **{
            "id": call_id, "namespace": "openfaas-fn", "function": "hello", "method": "POST", "path": "/", "query": "",
            "headers": {}, "body": b"secret", "retries": 0, **values,
        }
    )  # fmt: skip
    with table.database.writing() as db:
        place = table.add(db, call, time.time())
        if dead:
            course = table.take(db, place.number, time.time()).course
            after = course.answered(500, time.time(), random.Random(0), owes=False, detail="it answered 500")
            table.advance(db, place.number, course, after)


def ids(answer):
    return [one["id"] for one in answer.json()]


def test_calls_are_listed_with_how_they_do(control, table):
    assert control.request("GET", "/system/async").json() == []
    add(table, "a")
    add(table, "b", dead=True, function="other")

    dead, waiting = control.request("GET", "/system/async").json()

    assert (waiting["id"], waiting["state"], waiting["attempts"]) == ("a", "waiting", 0)
    assert {"due", "created", "age"} <= set(waiting)
    assert (dead["state"], dead["attempts"], dead["status"]) == ("dead", 1, 500)
    assert (dead["function"], dead["namespace"], dead["detail"]) == (
        "other",
        "openfaas-fn",
        "it answered 500",
    )
    assert "due" not in dead
    assert "ended" in dead


def test_those_that_are_asked_for_are_listed(control, table):
    add(table, "a")
    add(table, "b", dead=True, function="other")
    add(table, "c/d", namespace="red")

    assert ids(control.request("GET", "/system/async?state=dead")) == ["b"]
    assert ids(control.request("GET", "/system/async?namespace=red")) == ["c/d"]
    assert ids(control.request("GET", "/system/async?function=hello&limit=1")) == ["c/d"]
    assert ids(control.request("GET", "/system/async/c/d")) == ["c/d"]
    assert control.request("GET", "/system/async/e").status == 404


@pytest.mark.parametrize(
    "query", ["state=lost", "limit=0", "limit=1001", "limit=0000000015000", "limit=many", "limit="]
)
def test_what_cannot_be_asked_for_is_refused(control, query):
    answer = control.request("GET", f"/system/async?{query}")

    assert answer.status == 400
    assert answer.text.startswith(query.partition("=")[0])


def test_one_is_cancelled_and_the_front_is_told(control, front, table):
    add(table, "a/b")

    assert control.request("DELETE", "/system/async/a/b").status == 202
    assert front.changes == 1
    assert control.request("GET", "/system/async/a/b").json()[0]["state"] == "cancelled"
    assert control.request("DELETE", "/system/async/a/b").status == 404
    assert front.changes == 1


def test_a_dead_one_is_sent_again_and_the_front_is_told(control, front, table):
    add(table, "a")
    add(table, "b", dead=True)

    assert control.request("POST", "/system/async/a/retry").status == 404
    assert control.request("POST", "/system/async/b/retry").status == 202
    assert front.changes == 1
    (record,) = control.request("GET", "/system/async/b").json()
    assert (record["state"], record["attempts"]) == ("waiting", 0)


def test_a_password_is_asked_for(control):
    assert control.request("GET", "/system/async", Authorization="Basic bm86bm8=").status == 401
