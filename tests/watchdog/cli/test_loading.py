"""What is asked of an app while it is loaded."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from regrain.plan import Plan
from regrain_watchdog.cli.course import Course
from regrain_watchdog.cli.loading import look
from regrain_watchdog.control.decision import Decision, Told
from regrain_watchdog.load.client import Target
from regrain_watchdog.load.spend import Meter
from regrain_watchdog.policy.cost import Prices


@pytest.fixture
def app():
    """An admin API that answers what the test says, by path; its address, and the answers."""
    answers = {"/status": (200, {"app": "app", "state": "ready", "grain": "a"})}

    class Admin(BaseHTTPRequestHandler):
        def do_GET(self):
            status, told = answers[self.path]
            body = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", answers
        server.shutdown()
        thread.join()


def decided(number):
    present = Told(plan=Plan(()), grain="a", cost=1.0)
    told = Decision(number=number, at=0.0, woken="period", reason="BEST", sentence="", present=present)
    return 200, {"decision": msgspec.to_builtins(told)}


def course(base):
    return Course(
        name="app",
        target=Target.of("http://127.0.0.1:1/"),
        base=base,
        times=[],
        contents=[],
        slo=None,
        meter=Meter(Prices(), None, None),
    )


def test_an_app_that_cannot_say_for_once_is_asked_again(app):
    base, answers = app
    loaded = course(base)

    for answer in (decided(5), (503, {"title": "busy"}), decided(6), (500, {}), decided(7)):
        answers["/why"] = answer
        look(loaded, 0.0)

    assert loaded.is_asked
    assert loaded.decided.so_far().made == 2


def test_an_app_that_does_not_adapt_is_asked_once(app):
    base, answers = app
    loaded = course(base)

    for answer in ((404, {"title": "Not Found", "detail": "nobody but operators changes the plan"}), decided(5)):
        answers["/why"] = answer
        look(loaded, 0.0)

    assert not loaded.is_asked
    assert loaded.decided.so_far() is None
