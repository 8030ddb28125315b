import os
import types

import flask
import pytest

from regrain import testing
from regrain.errors import LoadError, RegrainError, RequestError, SpecError
from regrain.handler import HandlerReturnError, Query, as_response, from_handler, handler_app
from regrain.request import Request

HTML = "text/html; charset=utf-8"


def module_with(handle):
    module = types.ModuleType("served")
    module.handle = handle
    return module


@pytest.mark.parametrize(
    ("returned", "status", "body", "content_type"),
    [
        pytest.param("hi", 200, b"hi", HTML, id="str"),
        pytest.param(b"\x00", 200, b"\x00", "application/octet-stream", id="bytes"),
        pytest.param(None, 200, b"", HTML, id="None"),
        pytest.param({"a": 1}, 200, b'{"a": 1}', "application/json", id="a dict is JSON"),
        pytest.param([1, "b"], 200, b'[1, "b"]', "application/json", id="a list is JSON"),
        pytest.param(("no", 404), 404, b"no", HTML, id="body and status"),
        pytest.param(("no", "404 Not Found"), 404, b"no", HTML, id="a status line"),
        pytest.param(({"a": 1}, 201, {"X-A": "b"}), 201, b'{"a": 1}', "application/json", id="three parts"),
        pytest.param(("<a/>", {"content-type": "text/xml"}), 200, b"<a/>", "text/xml", id="body and headers"),
        pytest.param(("x", 200, [("Content-Type", "a/b")]), 200, b"x", "a/b", id="headers in pairs"),
        pytest.param({"statusCode": 204}, 204, b"", "application/octet-stream", id="a status alone"),
        pytest.param({"statusCode": "400", "body": "bad"}, 400, b"bad", HTML, id="a status as text"),
        pytest.param({"body": {"a": None}}, 200, b'{"a": null}', "application/json", id="a body alone"),
        pytest.param({"body": 5}, 200, b"5", HTML, id="a number"),
        pytest.param(
            {"body": "x", "headers": {"Content-type": "text/plain"}}, 200, b"x", "text/plain", id="any case"
        ),
    ],
)
def test_what_openfaas_and_flask_allow_becomes_a_response(returned, status, body, content_type):
    response = as_response(returned)

    assert (response.status, response.body) == (status, body)
    types_told = [value for name, value in response.headers.items() if name.lower() == "content-type"]
    assert types_told == [content_type]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({1, 2}, "a body of type set; allowed are str, bytes"),
        ({"statusCode": 200, "body": object()}, "a body of type object"),
        ({"a": object()}, "a dict that is no JSON"),
        (("a", 200, {}, 1), "a tuple of 4"),
        (("a", 99), "the status 99; allowed are 200 to 599"),
        (("a", "fine"), "the status 'fine'"),
        (("a", 200, 7), "headers of type int; allowed are dict and pairs"),
        (("a", 200, [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]), "a header more than once"),
    ],
)
def test_what_is_no_response_is_refused_by_its_type(returned, message):
    with pytest.raises(HandlerReturnError, match=message):
        as_response(returned)


def test_a_handler_sees_the_request_as_on_openfaas():
    seen = {}

    def handle(event, context):
        seen.update(
            body=event.body,
            kind=event.headers.get("Content-Type"),
            same=event.headers["content-type"],
            absent=event.headers.get("X-Absent"),
            headers=dict(event.headers),
            method=event.method,
            query=event.query,
            path=event.path,
            host=context.hostname,
        )

    from_handler(handle)(
        Request(body=b"b", headers={"content-type": "a/b"}, method="PUT", query={"q": "1"}, path="/p")
    )

    assert seen == {
        "body": b"b",
        "kind": "a/b",
        "same": "a/b",
        "absent": None,
        "headers": {"Content-Type": "a/b"},
        "method": "PUT",
        "query": {"q": "1"},
        "path": "/p",
        "host": os.uname().nodename,
    }


def test_a_module_with_a_handler_is_an_app_of_one_stage_that_is_not_repeated():
    def handle(event, context):
        return event.body[::-1]

    app = handler_app(module_with(handle), "legacy")

    manifest = app.manifest()
    assert [stage.idempotent for stage in manifest.stages] == [False]
    assert [parameter.kind for parameter in (*manifest.parameters, manifest.answer)] == ["request", "request"]
    assert testing.run(app, Request(body=b"abc")).body == b"cba"


@pytest.mark.parametrize(
    ("raw", "seen"), [(None, "caf\ufffd"), ("false", "caf\ufffd"), ("true", b"caf\xe9"), ("1", b"caf\xe9")]
)
def test_a_handler_of_one_gets_what_was_sent_as_text_unless_it_wants_bytes(monkeypatch, raw, seen):
    got = []

    def handle(req):
        got.append(req)
        return "taken", 202

    if raw is not None:
        monkeypatch.setenv("RAW_BODY", raw)
    answered = testing.run(handler_app(module_with(handle), "legacy"), Request(body=b"caf\xe9"))

    assert (answered.body, answered.status, got) == (b"taken", 202, [seen])


def test_what_is_asked_is_found_as_in_flasks_args():
    query = Query(q="1", word="x")

    assert (query.get("q"), query.get("q", type=int), query["word"]) == ("1", 1, "x")
    assert (query.get("none"), query.get("none", "d"), query.get("word", 7, int)) == (None, "d", 7)
    assert query.get("q", 0, int) == 1
    assert (query.getlist("q"), query.getlist("none"), query.getlist("q", type=int)) == (["1"], [], [1])
    assert query.getlist("word", type=int) == []


def test_a_response_of_flasks_goes_out_as_it_is():
    made = flask.Response("{}", status=201, mimetype="application/json", headers={"X-One": "1"})

    response = as_response(made)

    assert (response.body, response.status) == (b"{}", 201)
    assert response.headers == {"X-One": "1", "Content-Type": "application/json"}


def test_two_handlers_have_two_digests():
    def first(event, context):
        return "first"

    def second(event, context):
        return "second"

    digests = {handler_app(module_with(handle), "legacy").manifest().digest for handle in (first, second)}

    assert len(digests) == 2


def test_a_handler_that_raises_fails_its_request():
    def handle(event, context):
        raise KeyError("text")

    with pytest.raises(RequestError, match="stage 'handle' failed: KeyError: 'text'") as caught:
        testing.run(handler_app(module_with(handle), "legacy"), Request())

    assert caught.value.status == 500


@pytest.mark.parametrize("handle", [None, "text", lambda event, context, more: event, lambda: None])
def test_a_module_without_handle_of_one_or_two_is_no_app(handle):
    with pytest.raises(LoadError, match=r"served holds no function handle\(event, context\)"):
        handler_app(module_with(handle), "legacy")


def test_an_async_handler_is_refused():
    async def handle(event, context): ...

    with pytest.raises(SpecError, match="async"):
        handler_app(module_with(handle), "legacy")


def test_its_error_is_one_of_ours():
    assert issubclass(HandlerReturnError, RegrainError)
