"""Calls on disk."""

from __future__ import annotations

import random
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.later.call import Result
from regrain_watchdog.gateway.later.table import KEPT, KEPT_SECONDS, Bounds, Table

RNG = random.Random(0)


def add(table, call, now=10.0):
    with table.database.writing() as db:
        return table.add(db, call, now)


def take(table, number, now=11.0):
    with table.database.writing() as db:
        return table.take(db, number, now)


def answer(table, place, status, now=12.0, body=b""):
    """Run a call that waits, with this answer."""
    taken = take(table, place.number)
    owes = bool(taken.call.callback)
    after = taken.course.answered(status, now, RNG, owes=owes)
    with table.database.writing() as db:
        result = Result(status=status, headers=[("a", "b")], body=body) if after.state == "owed" else None
        return table.advance(db, place.number, taken.course, after, result)


def states(table):
    return [record.state for record in table.records(0.0)]


def test_a_call_is_kept_as_it_came_and_taken_once(table, path, make):
    call = make(callback="http://example.org/", body=bytes(range(256)))
    place = add(table, call)
    other = Table(path)

    taken = take(other, place.number)

    assert taken.call == call
    assert (taken.course.state, taken.course.attempts) == ("running", 1)
    assert take(table, place.number) is None
    other.close()


def test_functions_are_told_apart_and_so_are_hosts_that_are_called_back(table, make):
    place = add(table, make(callback="https://example.org/a"))

    assert place.key == "openfaas-fn/hello"
    assert answer(table, place, 200).key == "example.org:443"


def test_a_result_waits_until_it_has_been_told(table, make):
    owed = answer(table, add(table, make(callback="http://example.org/")), 200, body=b"hello")

    taken = take(table, owed.number)

    assert taken.course.state == "telling"
    assert taken.result == Result(status=200, headers=[("a", "b")], body=b"hello")
    with table.database.writing() as db:
        assert table.advance(db, owed.number, taken.course, taken.course.told(204, 13.0, RNG)) is None
    (record,) = table.records(20.0)
    assert (record.state, record.status, record.attempts, record.age) == ("done", 200, 1, 10.0)
    assert record.ended.timestamp() == 13.0


def test_what_was_under_way_waits_again(table, make):
    running = add(table, make("running"))
    telling = answer(table, add(table, make("telling", callback="http://example.org/")), 200)
    waiting = add(table, make("waiting"))
    for place in (running, telling):
        take(table, place.number)

    with table.database.writing() as db:
        assert table.places(db) == [waiting]
        assert table.recover(db) == 2
        assert {place.number for place in table.places(db)} == {
            running.number, telling.number, waiting.number,
        }  # fmt: skip
    assert states(table) == ["waiting", "owed", "waiting"]


def test_one_that_is_cancelled_has_no_other_end(table, make):
    place = add(table, make())
    taken = take(table, place.number)
    with table.database.writing() as db:
        assert table.cancel(db, "one", 12.0) == 1
        assert table.cancel(db, "one", 12.0) == 0
        assert table.unwanted(db, [place.number, 99]) == [place.number]
        after = taken.course.answered(200, 13.0, RNG, owes=False)
        assert table.advance(db, place.number, taken.course, after) is None

    assert states(table) == ["cancelled"]


def test_the_dead_may_be_sent_again(table, make):
    place = add(table, make(retries=0))
    assert answer(table, place, 500) is None
    assert states(table) == ["dead"]

    with table.database.writing() as db:
        assert table.resend(db, "one", 30.0) == 1
        assert table.resend(db, "one", 30.0) == 0
        (again,) = table.places(db)

    assert (again.number, again.at) == (place.number, 30.0)
    assert take(table, place.number, 31.0).call == make(retries=0)


def test_calls_of_one_id_are_told_apart_by_their_functions(table, make):
    for function in ("hello", "other"):
        add(table, make(function=function))

    with table.database.writing() as db:
        assert table.cancel(db, "one", 12.0, ("dev", "hello")) == 0
        assert table.cancel(db, "one", 12.0, ("openfaas-fn", "nobody")) == 0
        assert table.cancel(db, "one", 12.0, ("openfaas-fn", "hello")) == 1

    assert {record.function: record.state for record in table.records(20.0)} == {
        "hello": "cancelled", "other": "waiting",
    }  # fmt: skip


def test_several_calls_may_have_one_id(table, make):
    for _ in range(3):
        add(table, make())

    with table.database.writing() as db:
        assert table.cancel(db, "one", 12.0) == 3


@pytest.mark.parametrize("bounds", [Bounds(calls=2), Bounds(nbytes=700)])
def test_what_is_too_much_is_refused_until_there_is_room(path, make, bounds):
    table = Table(path, bounds)
    places = [add(table, make(body=b"a" * 150)) for _ in range(2)]

    with pytest.raises(RequestError) as caught:
        add(table, make(body=b"a" * 150))

    assert caught.value.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert caught.value.headers == {"Retry-After": "10"}
    answer(table, places[0], 200)
    add(table, make(body=b"a" * 150))
    assert states(table) == ["waiting", "waiting", "done"]
    table.close()


def held(table):
    with table.database.reading() as db:
        return db.execute("SELECT state, size, length(call) + length(result) FROM calls").fetchall()


def test_the_bytes_of_results_count_and_one_that_is_too_much_is_told_as_such(path, make):
    table = Table(path, Bounds(nbytes=1000, results=1000))
    places = [add(table, make(f"{number}", callback="http://example.org/")) for number in range(3)]

    kept = answer(table, places[0], 200, body=b"a" * 800)
    refused = answer(table, places[1], 200, body=b"a" * 800)

    with pytest.raises(RequestError) as caught:
        add(table, make())
    assert caught.value.status is HTTPStatus.SERVICE_UNAVAILABLE
    assert [size for _, size, _ in held(table)] == [length for _, _, length in held(table)]
    assert take(table, kept.number).result.body == b"a" * 800
    told = take(table, refused.number)
    assert told.result == Result(status=507)
    assert told.course.status == 200
    assert "the answer was not kept: it has 8" in told.course.detail
    with table.database.writing() as db:
        table.cancel(db, "0", 13.0)
    assert take(table, answer(table, places[2], 200, body=b"a" * 800).number).result.body == b"a" * 800
    table.close()


def test_of_the_dead_only_the_call_counts_and_is_sent_again(path, make):
    table = Table(path)
    owed = answer(table, add(table, make(retries=0, callback="http://example.org/")), 500, body=b"a" * 800)
    taken = take(table, owed.number)

    with table.database.writing() as db:
        table.advance(db, owed.number, taken.course, taken.course.told(200, 13.0, RNG))

    ((state, size, length),) = held(table)
    assert (state, size) == ("dead", length)
    table.close()


def test_what_has_ended_is_kept_for_a_while_and_not_all_of_it(table, make):
    old = add(table, make("old", retries=0))
    answer(table, old, 500, now=10.0)
    dead = add(table, make("dead", retries=0))
    answer(table, dead, 500, now=100.0)
    for number in range(3):
        answer(table, add(table, make(f"done {number}")), 200, now=100.0 + number)
    with table.database.writing() as db:
        db.execute(
            "WITH RECURSIVE many(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < ?)"
            " INSERT INTO calls SELECT NULL, id, namespace, function, created, callback, 200, retries, state, attempts,"
            " tells, outcome, status, detail, size, call, result FROM calls, many WHERE id = 'done 2'",
            (KEPT - 1,),
        )
        table.purge(db, 11.0 + KEPT_SECONDS)

    assert {record.id for record in table.records(0.0, limit=9999)} == {"dead", "done 2"}
    assert len(table.records(0.0, state="done", limit=9999)) == KEPT


def test_calls_are_listed_by_what_is_asked_for(table, make):
    add(table, make("a"))
    add(table, make("b", function="other"))
    add(table, make("c", namespace="red"))

    def ids(**asked):
        return [record.id for record in table.records(20.0, **asked)]

    assert ids() == ["c", "b", "a"]
    assert ids(limit=1) == ["c"]
    assert ids(call_id="a") == ["a"]
    assert ids(function="other") == ["b"]
    assert ids(namespace="red") == ["c"]
    assert ids(namespace="red", state="dead") == []
    assert table.records(20.0)[0].due.timestamp() == 10.0
