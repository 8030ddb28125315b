"""Answers that come item by item, as callers over HTTP get them."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

import regrain

LIMIT = 60.0


@pytest.fixture(scope="module", params=["coarse", "fine"])
def streams(request, module_serve):
    return module_serve("streams.py", "--grain", request.param, slo="60s")


def opened(served, accept="*/*", **values):
    return requests.post(served.url, json=values, headers={"Accept": accept}, stream=True, timeout=LIMIT)


def lines(response):
    return [json.loads(line) for line in response.iter_lines()]


def events(response):
    """Every event: its name, and its data."""
    found = []
    for block in response.text.split("\n\n")[:-1]:
        name = "message"
        for line in block.split("\n"):
            field, _, text = line.partition(": ")
            name = text if field == "event" else name
            data = json.loads(text) if field == "data" else None
        found.append((name, data))
    return found


def test_items_come_as_lines_of_json(streams):
    with opened(streams, what="count", count=3) as response:
        items = lines(response)

    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert response.headers["X-Call-Id"]
    assert [item["n"] for item in items] == [0, 1, 2]


def test_items_come_as_events_to_whoever_asks_for_them(streams):
    with opened(streams, "text/event-stream", what="count", count=3) as response:
        found = events(response)

    assert response.headers["Content-Type"] == "text/event-stream"
    assert [(name, item["n"]) for name, item in found] == [("message", 0), ("message", 1), ("message", 2)]


def test_items_come_as_a_list_to_whoever_wants_json(streams):
    with opened(streams, "application/json", what="count", count=3) as response:
        assert [item["n"] for item in response.json()] == [0, 1, 2]
    with opened(streams, "application/json", what="empty") as response:
        assert response.json() == []


def test_an_empty_stream_is_an_empty_answer(streams):
    with opened(streams, what="empty") as response:
        assert (response.status_code, response.content) == (200, b"")


def test_a_stream_of_more_items_than_travel_ahead_is_whole_and_in_order(streams):
    with opened(streams, what="count", count=1000) as response:
        assert [item["n"] for item in lines(response)] == list(range(1000))


def test_what_fails_before_the_first_item_has_its_status(streams, problem):
    with opened(streams, what="raise") as response:
        problem(response, 500, "nothing at all", "give")


def test_a_stage_can_answer_in_place_of_the_stream(streams):
    with opened(streams, "text/event-stream", what="answer") as response:
        assert (response.status_code, response.text) == (418, "instead")
        assert response.headers["X-Tea"] == "yes"


@pytest.mark.parametrize(
    ("what", "status", "says"),
    [
        ("fail", 500, "the third is missing"),
        ("late", 500, "after the first item"),
        ("set", 500, "set at"),
        ("die", 502, "in the middle of the answer"),
    ],
)
def test_what_fails_later_ends_the_stream_with_an_error(streams, what, status, says):
    with opened(streams, "text/event-stream", what=what) as response:
        *items, (name, told) = events(response)
    assert response.status_code == 200
    assert [item["n"] for _, item in items] == [0, 1]
    assert name == "error"
    assert (told["status"], told["stage"]) == (status, "give")
    assert says in told["detail"]

    with opened(streams, what=what) as response:
        *items, told = lines(response)
    assert [item["n"] for item in items] == [0, 1]
    assert told["error"]["status"] == status


def test_a_stream_whose_replica_died_is_not_tried_again(streams, tmp_path):
    log = tmp_path / "log"

    with opened(streams, "application/json", what="die", log=str(log)) as response:
        assert response.status_code == 502
    assert log.read_text().splitlines() == ["given", "given"]


def test_an_item_over_the_limit_is_refused(streams, problem):
    with opened(streams, what="huge") as response:
        problem(response, 500, "one of a stream has 4194304 at most", "give")


def test_a_list_over_the_limit_is_refused(streams, problem):
    with opened(streams, "application/json", what="much", count=30) as response:
        problem(response, 406, "sent as a stream alone")


def test_no_form_that_there_is_not_is_begun(streams, problem):
    with opened(streams, "image/png", what="count") as response:
        problem(response, 406, "application/x-ndjson, text/event-stream, application/json")


def test_a_caller_that_takes_nothing_holds_the_generator_up(streams, tmp_path, until):
    log = tmp_path / "log"
    with opened(streams, what="much", count=0, log=str(log)) as response:
        pieces = response.iter_content(1 << 16)
        next(pieces)
        until(log.exists, "the stream has begun")
        given = -1
        while given != (given := log.read_text().count("given")):
            time.sleep(1.0)
        assert given < 60

    until(lambda: "closed" in log.read_text(), "the generator is closed once its caller has gone")
    with opened(streams, what="count") as response:
        assert len(lines(response)) == 5


def test_the_objective_is_held_to_the_first_item(serve, until, with_time):
    def held(seconds):
        served = serve("streams.py", slo=f"{seconds:g}s")
        began = time.monotonic()
        with opened(served, what="much", count=60) as response:
            pieces = response.iter_content(1 << 16)
            next(pieces)
            time.sleep(seconds + 1.0)
            for _ in pieces:
                pass

        assert float(response.headers["X-Duration-Seconds"]) < seconds < time.monotonic() - began
        until(lambda: served.metric("regrain_hits_total") == 1, "it is counted as a hit")

    with_time(held, 2.0)


def test_a_replica_that_is_killed_in_the_middle_ends_the_stream(serve):
    served = serve("streams.py", slo="60s")
    with opened(served, "text/event-stream", what="count", count=0) as response:
        rows = response.iter_lines()
        first = json.loads(next(rows).removeprefix(b"data: "))
        os.kill(first["pid"], signal.SIGKILL)
        rest = [row for row in rows if row and not row.startswith(b'data: {"n"')]

    assert rest[0] == b"event: error"
    assert json.loads(rest[1].removeprefix(b"data: "))["status"] == 502


def test_a_deadline_of_the_caller_ends_the_stream(serve, tmp_path, until, with_time):
    served = serve("streams.py", slo="60s")

    def ended(seconds):
        log = tmp_path / f"log of {seconds:g} s"
        body = {"what": "much", "count": 0, "log": str(log)}
        headers = {"Accept": "text/event-stream", "X-Timeout": f"{seconds:g}s"}
        with requests.post(served.url, json=body, headers=headers, stream=True, timeout=LIMIT) as response:
            assert response.status_code == 200
            until(lambda: log.exists() and "closed" in log.read_text(), "the generator is closed")
            name, told = events(response)[-1]

        assert (name, told["status"]) == ("error", 504)

    with_time(ended, 2.0)


def test_a_slow_caller_does_not_make_its_replica_look_hung(serve, with_time):
    def whole(seconds):
        served = serve("streams.py", slo="60s", hang_timeout=f"{seconds:g}s")
        with opened(served, what="much", count=40) as response:
            pieces = response.iter_content(1 << 16)
            size = len(next(pieces))
            time.sleep(seconds + 2.0)
            size += sum(map(len, pieces))

        assert size > 40 << 20

    with_time(whole, 2.0)


def test_a_stream_that_is_under_way_is_whole_though_the_app_is_told_to_stop(serve):
    served = serve("streams.py", slo="60s", healthcheck_interval="0s")
    with opened(served, what="much", count=40) as response:
        pieces = response.iter_content(1 << 16)
        size = len(next(pieces))
        served.signal()
        served.said("regrain: draining")
        size += sum(map(len, pieces))

    assert size > 40 << 20
    assert served.ended() == 0


def test_the_description_names_each_form(streams):
    told = streams.get("/_/openapi.json").json()["paths"]["/"]["post"]["responses"]["200"]["content"]

    assert told.keys() == {"application/x-ndjson", "text/event-stream", "application/json"}
    item = told["text/event-stream"]["schema"]
    assert told["application/json"]["schema"] == {"type": "array", "items": item}


def test_our_client_yields_items_and_raises_what_comes_after_them(streams):
    with regrain.Client(streams.url) as client:
        assert [item["n"] for item in client.stream(what="count", count=40)] == list(range(40))
        items = client.stream(what="fail")
        assert [next(items)["n"], next(items)["n"]] == [0, 1]
        with pytest.raises(regrain.RequestError, match="the third is missing") as caught:
            next(items)

    assert (caught.value.status, caught.value.stage) == (500, "give")


def test_our_client_yields_what_a_stage_answers_in_place_of_the_stream(streams):
    with regrain.Client(streams.url) as client:
        assert list(client.stream(what="instead")) == [{"instead": True}]
        assert list(client.stream(what="bytes")) == [client.invoke(what="bytes")] == [b"\0"]
        for (array,) in (client.stream(what="array"), [client.invoke(what="array")]):
            np.testing.assert_array_equal(array, [0, 1, 2])
        with pytest.raises(regrain.RequestError, match="instead") as caught:
            next(client.stream(what="answer"))

    assert caught.value.status == 418


def test_our_client_raises_what_failed_before_the_first_item(streams):
    with (
        regrain.Client(streams.url) as client,
        pytest.raises(regrain.RequestError, match="nothing at all") as caught,
    ):
        next(client.stream(what="raise"))

    assert caught.value.headers["X-Call-Id"]


def test_closing_our_clients_iterator_ends_the_stream(streams, tmp_path, until):
    log = tmp_path / "log"
    with regrain.Client(streams.url) as client:
        items = client.stream(what="count", count=0, log=str(log))
        next(items)
        items.close()

    until(lambda: log.exists() and "closed" in log.read_text(), "the generator is closed")


def test_the_command_line_shows_every_item(serve, run_cli):
    serve("streams.py", slo="60s")
    shown = run_cli("invoke", '{"what": "count", "count": 3}')

    assert shown.returncode == 0, shown.stderr
    assert [json.loads(line)["n"] for line in shown.stdout.splitlines()] == [0, 1, 2]


def test_many_streams_at_once_each_come_whole(streams):
    def ask(_):
        with opened(streams, what="count", count=5) as response:
            return [item["n"] for item in lines(response)]

    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(ask, range(200)))

    assert answers == [[0, 1, 2, 3, 4]] * 200
