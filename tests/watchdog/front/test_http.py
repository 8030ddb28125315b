import asyncio
import logging
import socket
import struct
import time
from http import HTTPStatus

import msgspec
import numpy as np
import pytest

from regrain.errors import RequestError
from regrain.manifest import Parameter, TensorSpec
from regrain.request import Request
from regrain_watchdog.front.call import Reply, Span
from regrain_watchdog.front.http import server_timing

NAME = Parameter(name="name", kind="str", schema={"type": "string"}, required=False)


def test_a_call_is_answered_with_what_the_app_gave(serve):
    answer = serve().post(b"\x89PNG", "image/png")

    assert (answer.status, answer.body) == (200, b"\x89PNG")
    assert answer.headers["content-type"] == "application/octet-stream"


def test_an_answer_tells_its_call_id_its_duration_and_where_the_time_went(serve):
    async def behave(call):
        call.spans.append(Span(group="a", stage="", seconds=0.001, kind="wait"))
        call.spans.append(Span(group="a", stage="decode", seconds=0.0025))
        return Reply(value="x")

    answer = serve(behave=behave).post(b"x")

    assert len(answer.headers["x-call-id"]) >= 16
    assert 0 < float(answer.headers["x-duration-seconds"]) < 60
    assert answer.headers["server-timing"] == "queue-wait;dur=1.000, decode;dur=2.500"


def test_every_call_has_an_id_of_its_own(serve):
    served = serve()

    assert len({served.post(b"x").headers["x-call-id"] for _ in range(5)}) == 5


def test_a_callers_own_call_id_is_kept(serve):
    served = serve()

    assert served.post(b"x", X_Call_Id="order-7/3").headers["x-call-id"] == "order-7/3"
    assert served.service.calls[0].id == "order-7/3"


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nope", 404), ("DELETE", "/", 405), ("GET", "/v2/nope", 404)]
)
def test_a_refusal_has_its_callers_call_id(serve, method, path, status):
    answer = serve().request(method, path, headers={"X-Call-Id": "order-8"})

    assert (answer.status, answer.headers["x-call-id"]) == (status, "order-8")


@pytest.mark.parametrize("wanted", ["", "a b", "x" * 129, 'a"b'])
def test_a_call_id_that_could_do_harm_in_a_log_is_refused(serve, wanted):
    answer = serve().post(b"x", X_Call_Id=wanted)

    assert answer.status == 400
    assert "X-Call-Id must be 1 to 128" in answer.json["detail"]


def test_a_call_carries_headers_and_a_deadline_from_the_objective(serve, app_of):
    served = serve(app_of(slo=0.3))
    before = time.monotonic()
    served.post(b"x", X_Trace="7")
    call = served.service.calls[0]

    assert msgspec.msgpack.decode(call.headers)["x-trace"] == "7"
    assert call.deadline == pytest.approx(call.arrived + 0.3)
    assert before <= call.arrived <= time.monotonic()


def test_without_an_objective_there_is_no_deadline(serve):
    served = serve()
    served.post(b"x")

    assert served.service.calls[0].deadline == 0.0


def test_the_objective_of_the_settings_wins(serve, app_of):
    served = serve(app_of(slo=0.3), slo="2s")
    served.post(b"x")
    call = served.service.calls[0]

    assert call.deadline == pytest.approx(call.arrived + 2.0)


def test_an_empty_body_is_fine_where_every_parameter_has_a_default(serve, app_of):
    assert serve(app_of(NAME)).post().json == {}


def test_an_empty_body_is_refused_naming_the_parameter_that_is_missing(serve):
    answer = serve().post()

    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["detail"] == (
        "the request has no body: parameter 'image' is missing; the app takes image (bytes)"
    )


def test_a_body_over_the_limit_is_refused_before_it_is_sent(serve):
    served = serve(max_body=10)
    with served.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = connection.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"more than 10 bytes (REGRAIN_MAX_BODY)" in answer


def test_a_body_that_grows_over_the_limit_is_refused(serve):
    served = serve(max_body=10)
    with served.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n"
        )
        answer = connection.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_as_large_as_the_limit_is_served(serve):
    assert serve(max_body=10).post(b"0123456789").body == b"0123456789"


def test_a_chunked_body_is_read_whole(serve):
    answer = serve().request("POST", body=iter([b"abc", b"def"]))

    assert answer.body == b"abcdef"


def test_a_chunked_body_that_breaks_off_is_never_run(serve):
    served = serve()
    with served.connect() as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"
        )
        answer = connection.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert served.service.calls == []


def test_a_slow_body_is_answered_408(serve):
    served = serve(body_timeout=0.05)
    with served.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nabc")
        answer = connection.recv(10_000)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"within 0.05 s (REGRAIN_BODY_TIMEOUT)" in answer


@pytest.mark.parametrize("length", [b"x", b"-1", b"1, 2"])
def test_a_malformed_content_length_is_refused(serve, length):
    served = serve()
    with served.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\nabc")

        assert connection.recv(10_000).startswith(b"HTTP/1.1 400 ")
    assert served.service.calls == []


def test_a_body_in_a_type_that_the_app_cannot_take_is_answered_415(serve, app_of):
    answer = serve(app_of(NAME)).post(b"\x89PNG", "image/png")

    assert answer.status == 415
    assert "allowed are application/json, multipart/form-data, text/plain" in answer.json["detail"]


def test_an_unknown_path_is_answered_404_naming_what_there_is(serve):
    answer = serve().post(b"x", path="/predict")

    assert answer.status == 404
    assert "nothing at /predict" in answer.json["detail"]
    assert answer.json["call_id"] == answer.headers["x-call-id"]


def test_an_app_is_called_at_its_own_path_and_at_the_root(serve, app_of):
    served = serve(msgspec.structs.replace(app_of(), path="/predict"))

    assert [served.post(b"x", path=path).status for path in ("/predict", "/")] == [200, 200]
    assert served.request("GET", "/predict").json["call"] == "POST /predict"
    assert served.request("PUT", "/predict").headers["allow"] == "GET, HEAD, POST"
    assert "there are /, /predict, /_/health" in served.post(b"x", path="/predict/").json["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/", "GET, HEAD, POST"), ("DELETE", "/", "GET, HEAD, POST"), ("POST", "/_/health", "GET, HEAD")],
)
def test_a_wrong_method_is_answered_405_naming_those_allowed(serve, method, path, allowed):
    answer = serve().request(method, path)

    assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_get_on_the_root_says_how_to_call_the_app(serve):
    told = serve().request("GET").json

    assert (told["app"], told["call"], told["parameters"]) == ("echo", "POST /", {"image": "bytes"})


def test_health_says_yes_until_the_app_drains(serve):
    served = serve()
    assert served.request("GET", "/_/health").status == 200

    served.ingress.draining = True

    assert served.request("GET", "/_/health").status == 503
    assert served.request("GET", "/_/ready").status == 503
    assert served.post(b"x").status == 200


def test_readiness_says_why_not(serve):
    served = serve()
    assert served.request("GET", "/_/ready").status == 200

    served.service.trouble = "no replica of recognise is warm"

    answer = served.request("GET", "/_/ready")
    assert (answer.status, answer.body) == (503, b"no replica of recognise is warm")
    assert served.request("GET", "/_/health").status == 200


def test_a_failing_stage_is_answered_with_its_status_its_name_and_more_headers(serve):
    async def behave(call):
        raise RequestError(
            HTTPStatus.SERVICE_UNAVAILABLE, "too many wait", stage="detect", headers={"Retry-After": "1"}
        )

    answer = serve(behave=behave).post(b"x", X_Call_Id="c1")

    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {
        "title": "Service Unavailable",
        "status": 503,
        "detail": "too many wait",
        "call_id": "c1",
        "stage": "detect",
    }


def test_what_should_not_happen_is_logged_and_not_told(serve, caplog):
    async def behave(call):
        raise KeyError("secret")

    with caplog.at_level(logging.ERROR):
        answer = serve(behave=behave).post(b"x", X_Call_Id="c2")

    assert answer.status == 500
    assert b"secret" not in answer.body
    assert answer.json["call_id"] == "c2"
    record = next(record for record in caplog.records if record.exc_info)
    assert record.call_id == "c2"
    assert isinstance(record.exc_info[1], KeyError)


def test_a_caller_that_goes_away_cancels_its_call(serve, until):
    cancelled = []

    async def behave(call):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(call.id)
            raise

    served = serve(behave=behave)
    with served.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-Call-Id: c3\r\nContent-Length: 1\r\n\r\nx")
        until(lambda: served.service.calls)

    until(lambda: cancelled == ["c3"])
    until(lambda: served.measure.in_flight == 0)
    assert 'http_requests_total{code="499",method="POST"} 1.0' in served.measure.page()[1].decode()


def test_a_caller_that_goes_away_while_it_sends_leaves_no_trace(serve, until):
    served = serve()
    connection = served.connect()
    connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    until(lambda: served.measure.in_flight == 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

    until(lambda: served.measure.in_flight == 0)
    assert served.service.calls == []


def test_a_call_that_takes_long_is_answered_all_the_same(serve):
    async def behave(call):
        await asyncio.sleep(0.15)  # longer than connections go unwatched
        return Reply(value="late")

    assert serve(behave=behave).post(b"x").body == b"late"


def test_query_parameters_give_strings(serve, app_of):
    assert serve(app_of(NAME)).post(path="/?name=J%C3%B8rn").body == "Jørn".encode()


def test_an_answer_that_accept_does_not_allow_is_refused_before_the_app_runs(serve, app_of):
    served = serve(app_of(answer=Parameter(name="", kind="array")))

    answer = served.post(b"x", Accept="text/html")

    assert answer.status == 406
    assert served.service.calls == []


def test_arrays_travel_as_npy_both_ways(serve, app_of):
    pixels = Parameter(name="pixels", kind="array", tensor=TensorSpec(datatype="FP32", shape=(-1, 2)))
    served = serve(app_of(pixels, answer=Parameter(name="", kind="array")))
    array = np.arange(6, dtype=np.float32).reshape(3, 2)

    answer = served.post(_npy(array), "application/x-npy", Accept="application/x-npy")

    assert answer.headers["content-type"] == "application/x-npy"
    assert answer.body == _npy(array)


def test_an_app_of_raw_requests_gets_every_path_and_method_but_our_own(serve, app_of):
    served = serve(
        app_of(Parameter(name="request", kind="request"), answer=Parameter(name="", kind="request")), _raw
    )

    answer = served.request("DELETE", "/a/b?x=1&y=2", b"gone", {"X-A": "1"})

    assert (answer.status, answer.headers["x-seen"], answer.body) == (202, "DELETE /a/b", b"gone")
    request = served.service.calls[0].values["request"]
    assert (request.query, request.headers["x-a"]) == ({"x": "1", "y": "2"}, "1")
    assert served.request("GET", "/_/health").status == 200
    assert served.request("GET").status == 202


async def _raw(call):
    request = call.values["request"]
    assert isinstance(request, Request)
    value = {
        "body": request.body,
        "status": 202,
        "headers": {"X-Seen": f"{request.method} {request.path}", "Content-Length": "999"},
    }
    return Reply(value=value)


def test_a_header_that_comes_twice_is_joined(serve):
    served = serve()
    with served.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 1\r\n\r\nx")
        connection.recv(10_000)

    assert msgspec.msgpack.decode(served.service.calls[0].headers)["x-a"] == "1, 2"


def test_requests_are_counted_by_status_and_none_stays_in_flight(serve):
    served = serve()
    served.post(b"x")
    served.post()

    page = served.measure.page()[1].decode()
    assert 'http_requests_total{code="200",method="POST"} 1.0' in page
    assert 'http_requests_total{code="400",method="POST"} 1.0' in page
    assert "http_requests_in_flight 0.0" in page


def test_the_spans_of_a_stage_are_summed_up():
    spans = [Span(group="a", stage="orient", seconds=0.001), Span(group="a", stage="orient", seconds=0.002)]

    assert server_timing(spans) == "orient;dur=3.000"


def _npy(array):
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()
