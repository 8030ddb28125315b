"""The verbs that change an app, against an admin API that answers as it is told."""

import http.server
import json
import threading

import pytest

from regrain.errors import SpecError
from regrain_watchdog.cli.scale import parse


class Api(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        length = int(self.headers["Content-Length"])
        server.asked.append((self.path, json.loads(self.rfile.read(length))))
        self._answer(*server.answer)

    def do_GET(self):
        self._answer(200, self.server.status)

    def _answer(self, status, told):
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


CHANGED = {
    "at": 1.0,
    "old": "a+b (1)",
    "new": "a | b (1)",
    "state": "draining",
    "seconds": 1.25,
    "detail": "",
}


@pytest.fixture
def api(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.asked = []
        server.answer = 200, CHANGED
        server.status = {"app": "x", "state": "ready", "grain": "a+b"}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("REGRAIN_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def verb(regrain, monkeypatch, api):
    monkeypatch.setenv("REGRAIN_URL", f"http://127.0.0.1:{api.server_port}")
    return regrain


@pytest.mark.parametrize(
    ("args", "path", "sent"),
    [
        pytest.param(
            ("grain", "set", "a | b"), "/grain", {"grain": "a | b", "replicas": "", "hold": False}, id="grain"
        ),
        pytest.param(
            ("grain", "set", "fine", "--hold"),
            "/grain",
            {"grain": "fine", "replicas": "", "hold": True},
            id="grain that is held",
        ),
        pytest.param(
            ("grain", "set", "fine", "--replicas", "a=2"),
            "/grain",
            {"grain": "fine", "replicas": "a=2", "hold": False},
            id="grain and replicas",
        ),
        pytest.param(("scale", "a=3"), "/scale", {"group": "a", "replicas": 3}, id="scale"),
        pytest.param(("update",), "/update", {}, id="update"),
        pytest.param(("rollback",), "/rollback", {}, id="rollback"),
    ],
)
def test_a_change_is_asked_for_and_told_in_one_line(verb, api, args, path, sent):
    outcome = verb(*args)

    assert api.asked == [(path, sent)]
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "in force after 1.25 s: a | b (1), was a+b (1)\n"


@pytest.mark.parametrize("args", [("grain", "set", "a | b"), ("scale", "a=3")])
@pytest.mark.parametrize(("held", "noted"), [(False, 1), (True, 0)])
def test_what_a_controller_may_change_again_is_noted(verb, api, args, held, noted):
    api.status |= {"adapting": {"predictor": "verified"}, "held": held}

    outcome = verb(*args)

    assert outcome.code == 0
    assert outcome.err.count("note: a controller chooses the plan and may change it again") == noted


@pytest.mark.parametrize("adapting", [None, {"number": 3}])
def test_what_the_controller_of_the_pods_may_change_again_is_noted(verb, api, adapting):
    api.status |= {"epoch": 7, "adapting": adapting}

    outcome = verb("scale", "a=3")

    assert outcome.code == 0
    assert outcome.err == (
        "note: a controller assigns this pod its groups, and may change them again; "
        "its --plan FILE keeps a plan\n"
    )


def test_a_change_that_was_made_is_told_where_nothing_more_is(verb, api):
    api.status = {"no": "status"}

    outcome = verb("scale", "a=3")

    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(("status", "code"), [(400, 2), (409, 1), (500, 1)])
def test_a_refusal_is_one_line(verb, api, status, code):
    api.answer = status, {"title": "No", "status": status, "detail": "there is no stage 'c'"}

    outcome = verb("grain", "set", "c")

    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == "regrain: there is no stage 'c'\n"


def test_the_grain_is_shown_with_the_last_changes(verb, api):
    change = {
        "at": 0.0,
        "from": "fine (1)",
        "to": "a+b (1)",
        "state": "failed",
        "seconds": 0.5,
        "detail": "[no] model",
        "by": "operator",
    }
    api.status["transitions"] = [change]
    replica = {"pid": 7, "state": "ready", "resident": ["a", "b"], "memory": 3 << 20, "guest": True}
    api.status["groups"] = [{"name": "a+b", "stages": ["a", "b"], "replicas": [replica]}]
    api.status["held"] = True

    shown = verb("grain", "show").out.splitlines()

    assert shown[0] == "a+b, held"
    assert shown[2].split() == ["a+b", "7", "ready,", "stands", "in", "a,", "b", "3", "MiB"]
    assert (
        " ".join(shown[4].split(" ago ")[1].split()) == "operator fine (1) a+b (1) failed 500 ms [no] model"
    )


def test_the_grain_is_left_to_the_controller_again(verb, api):
    api.answer = 200, {"held": False, "controller": False}

    outcome = verb("grain", "auto")

    assert api.asked == [("/auto", {})]
    assert (
        outcome.out
        == "the grain is not held any more; no controller runs, so it stays until another is set\n"
    )


@pytest.mark.parametrize(("freed", "told"), [(0, ""), (64 << 20, ", 64 MiB given back")])
def test_what_replicas_keep_is_asked_for_and_told_with_what_they_gave_back(verb, api, freed, told):
    api.answer = 200, {"resident": "plan", "freed": freed}

    outcome = verb("resident", "plan")

    assert api.asked == [("/resident", {"stages": "plan"})]
    assert outcome.out == f"replicas keep plan{told}\n"


@pytest.mark.parametrize("text", ["", "a", "a=", "=2", "a=-1", "a=1.5", "a=two", "a=²"])
def test_what_is_no_group_and_number_is_refused(text):
    with pytest.raises(SpecError, match="GROUP=N is wanted"):
        parse(text)


def test_a_group_may_be_written_as_it_is_shown():
    assert parse("a+b = 2") == ("a+b", 2)
