import json
import math

import numpy as np
import pytest

from regrain.errors import RequestError
from regrain.manifest import Parameter
from regrain_watchdog.front import npy
from regrain_watchdog.front.answer import Answers, choose
from regrain_watchdog.front.call import Reply

ANY = Parameter(name="", kind="json")


def _render(value, accept="", answer=ANY, **reply):
    status, headers, body = Answers(answer).render(Reply(value=value, **reply), accept)
    return status, dict(headers), body


@pytest.mark.parametrize(
    ("value", "content_type", "body"),
    [
        pytest.param(b"\x00", "application/octet-stream", b"\x00", id="bytes"),
        pytest.param("é", "text/plain; charset=utf-8", "é".encode(), id="text"),
        pytest.param({"a": [1, None, 2.5]}, "application/json", b'{"a":[1,null,2.5]}', id="structure"),
        pytest.param((1, "a"), "application/json", b'[1,"a"]', id="tuple"),
        pytest.param(None, "application/json", b"null", id="nothing"),
        pytest.param(2**70, "application/json", str(2**70).encode(), id="large number"),
        pytest.param({"b": b"\x00x"}, "application/json", b'{"b":"AHg="}', id="bytes inside"),
        pytest.param([math.nan, math.inf], "application/json", b"[null,null]", id="no number"),
        pytest.param(np.array([[1.5, 2.0]]), "application/json", b"[[1.5,2.0]]", id="array"),
        pytest.param({"n": np.float32(0.5)}, "application/json", b'{"n":0.5}', id="numpy scalar"),
        pytest.param({1: "a"}, "application/json", b'{"1":"a"}', id="keys that are numbers"),
    ],
)
def test_a_value_goes_out_in_the_form_that_suits_it(value, content_type, body):
    assert _render(value) == (200, {"content-type": content_type}, body)


def test_an_array_goes_out_as_npy_where_the_caller_asks_for_it():
    array = np.arange(3)

    _, headers, body = _render(array, "application/x-npy, application/json;q=0.5")

    assert headers["content-type"] == "application/x-npy"
    assert np.array_equal(npy.read(body), array)


def test_bytes_and_text_go_out_as_json_where_the_caller_asks_for_it():
    assert _render(b"\x00x", "application/json")[2] == b'"AHg="'
    assert _render("a", "application/json")[2] == b'"a"'


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        pytest.param("*/*", "a/x", id="anything"),
        pytest.param("a/y", "a/y", id="one of them"),
        pytest.param("a/*;q=0.1, a/y;q=0.9", "a/y", id="by weight"),
        pytest.param("a/x;q=0, */*", "a/y", id="all but one"),
        pytest.param("b/*, A/Y", "a/y", id="any case"),
        pytest.param("b/z", None, id="none"),
        pytest.param("a/x;q=high", None, id="no weight"),
        pytest.param("a/x;version=1;q=0.5", "a/x", id="more settings"),
    ],
)
def test_accept_chooses(accept, chosen):
    assert choose(accept, ("a/x", "a/y")) == chosen


def test_a_value_that_accept_does_not_allow_is_refused_naming_what_there_is():
    with pytest.raises(RequestError, match="application/octet-stream, application/json") as caught:
        _render(b"x", "image/png")

    assert caught.value.status == 406


def test_a_stages_own_status_and_headers_go_out():
    status, headers, body = _render(b"\x89PNG", status=404, headers={"Content-Type": "image/png", "X-A": 1})

    assert (status, headers, body) == (404, {"content-type": "image/png", "x-a": "1"}, b"\x89PNG")


def test_a_response_of_a_raw_app_goes_out_as_it_is():
    value = {"body": b"<p>", "status": 201, "headers": {"Content-Type": "text/html", "Content-Length": "9"}}

    assert _render(value, answer=Parameter(name="", kind="request")) == (
        201,
        {"content-type": "text/html"},
        b"<p>",
    )


@pytest.mark.parametrize(
    "name", ["Connection", "Content-Length", "Date", "Server", "Trailer", "Transfer-Encoding"]
)
def test_headers_of_the_connection_are_ours_whatever_a_stage_says(name):
    assert _render("x", headers={name: "1"})[1] == {"content-type": "text/plain; charset=utf-8"}


@pytest.mark.parametrize(
    ("value", "reply", "reason"),
    [
        pytest.param(1j, {}, "JSON has no complex", id="no JSON for it"),
        pytest.param(np.array([1j]), {}, "JSON has no complex", id="no JSON for its items"),
        pytest.param("x", {"status": 99}, "status 99, allowed are 200 to 599", id="status too low"),
        pytest.param("x", {"status": 1000}, "status 1000", id="status too high"),
        pytest.param("x", {"headers": {"X-A": "b\r\nX-B: c"}}, "header 'x-a' must", id="two headers in one"),
        pytest.param("x", {"headers": {"X A": "b"}}, "header 'x a' must", id="no name of a header"),
        pytest.param("x", {"headers": {"": "b"}}, "header '' must", id="no name"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_a_failure_of_the_app(value, reply, reason):
    with pytest.raises(RequestError, match=reason) as caught:
        _render(value, **reply)

    assert caught.value.status == 500


@pytest.mark.parametrize(
    ("kind", "accept"), [("json", "image/png"), ("str", "image/png"), ("array", "text/html")]
)
def test_a_hopeless_request_is_refused_before_it_runs(kind, accept):
    answers = Answers(Parameter(name="", kind=kind, schema={"type": "object"}))

    with pytest.raises(RequestError, match="Accept allows none"):
        answers.check(accept)
    answers.check("")
    answers.check("application/json")


def test_json_of_an_array_reads_back():
    array = np.random.default_rng(0).random((2, 3))

    assert np.array_equal(np.array(json.loads(_render(array)[2])), array)
