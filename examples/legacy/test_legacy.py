"""The untouched handler served by itself, and as the first stage of an app."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from regrain import Request, testing
from regrain.handler import handler_app

FOLDER = Path(__file__).parent
TEXT = b"The cat and the dog and the bird."


def load(file, name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def handler():
    return load("handler.py", "legacy_handler")


@pytest.fixture(scope="module")
def served(handler):
    """The handler as the one-stage app that `regrain run handler.py` serves."""
    with testing.Session(handler_app(handler, "legacy")) as session:
        yield session


@pytest.fixture(scope="module")
def app():
    sys.path.insert(0, str(FOLDER))
    try:
        return load("app.py", "legacy_app").app
    finally:
        sys.path.remove(str(FOLDER))
        del sys.modules["handler"]


def test_the_handler_answers_as_on_openfaas(served):
    response = served.run(Request(body=TEXT, query={"limit": "3"}))

    assert response.status == 200
    assert json.loads(response.body) == {"words": ["the", "cat", "and"]}
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Served-By"]


def test_the_handler_reads_json_by_the_content_type(served):
    request = Request(body=b'{"text": "One two"}', headers={"content-type": "application/json"})

    assert json.loads(served.run(request).body) == {"words": ["one", "two"]}


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        pytest.param(Request(body=b"..."), 400, b"no words in the text", id="flask-style"),
        pytest.param(Request(method="GET"), 405, b"send a POST with a text", id="openfaas-style"),
    ],
)
def test_the_handler_refuses_in_either_style(served, request_, status, body):
    response = served.run(request_)

    assert (response.status, response.body) == (status, body)


@pytest.mark.parametrize("grain", ["coarse", "fine", "split+read | count+longest+summarise"])
def test_the_app_summarises_what_the_handler_splits(app, grain):
    summary = testing.run(app, Request(body=TEXT), grain=grain)

    assert summary.common == {"the": 3, "and": 2, "cat": 1, "dog": 1, "bird": 1}
    assert summary.longest == "bird"


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_what_the_handler_refuses_is_the_answer_of_the_app(app, grain):
    with testing.Session(app) as session:
        reply = session.reply(Request(body=b"1 2 3"), grain=grain)

    assert (reply.status, reply.value) == (400, "no words in the text")


def test_the_handler_is_not_run_twice_for_one_request(app):
    assert not app.manifest().stage("split").idempotent
