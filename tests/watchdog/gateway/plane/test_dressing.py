"""What a gateway adds to requests and to responses."""

import re
import time
import uuid

from regrain_watchdog.gateway.plane.dressing import Dressed, request_headers
from regrain_watchdog.gateway.plane.inside import Inside
from regrain_watchdog.gateway.plane.route import Below


class Asked:
    method = "GET"
    path = "/function/a"
    query_string = ""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): text for name, text in headers.items()}


def test_a_request_gets_an_id_a_time_and_the_host_that_was_asked() -> None:
    before = time.time_ns()
    headers = request_headers(
        Asked(host="here:8080", accept="*/*", connection="close", te="x"), Inside(b"", 0)
    )

    assert uuid.UUID(headers["x-call-id"]).version == 4
    assert before <= int(headers["x-start-time"]) <= time.time_ns()
    assert headers["x-forwarded-host"] == "here:8080"
    assert headers["accept"] == "*/*"
    assert headers.keys().isdisjoint({"connection", "te", "x-forwarded-for"})


def test_an_id_that_a_caller_chose_stays() -> None:
    assert request_headers(Asked(x_call_id="mine"), Inside(b"", 0))["x-call-id"] == "mine"


def test_fields_that_connection_names_are_not_the_functions() -> None:
    asked = Asked(host="here", connection="close, X-Mine,host", x_mine="hop", x_b="c")

    headers = request_headers(asked, Inside(b"", 0))

    assert (headers["host"], headers["x-b"]) == ("here", "c")
    assert headers.keys().isdisjoint({"connection", "x-mine"})


def test_a_response_tells_who_was_called_and_when_once() -> None:
    inside = Inside(b"", 9)
    dressed = Dressed(inside, {"x-call-id": "1", "x-start-time": "2"}, time.monotonic())
    assert (dressed.status, dressed.is_begun) == (499, False)

    dressed.response_bytes(201, [("x-call-id", "own"), ("x-a", "b")], b"hi")
    told = dict(inside.headers)

    assert (dressed.status, dressed.is_begun) == (201, True)
    assert (inside.status, inside.body, len(inside.headers)) == (201, b"hi", 4)
    assert (told["x-call-id"], told["x-start-time"], told["x-a"]) == ("own", "2", "b")
    assert re.fullmatch(r"0\.\d{6}", told["x-duration-seconds"])


def test_a_function_sees_the_path_below_its_name() -> None:
    below = Below(Asked(), "/b", {"x": "y"})

    assert (below.method, below.path, below.query_string, below.headers) == ("GET", "/b", "", {"x": "y"})
