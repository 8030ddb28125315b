import io
import json
import socket
import threading
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from regrain import Client, RequestError, SpecError

PROBLEM = "application/problem+json"


@dataclass
class Received:
    """What the server got; `reply` is what it answers: status, headers, body."""

    path: str = ""
    content_type: str = ""
    accept: str = ""
    key: str = ""
    body: bytes = b""
    reply: tuple[int, dict[str, str], bytes] = (200, {}, b"")


@pytest.fixture
def received():
    return Received()


@pytest.fixture
def url(received):
    """A small HTTP server on loopback."""

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            received.path = self.path
            self.reply()

        def do_POST(self):
            received.path = self.path
            received.content_type = self.headers.get("Content-Type", "")
            received.key = self.headers.get("Authorization", "")
            received.accept = self.headers.get("Accept", "")
            received.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.reply()

        def reply(self):
            status, headers, body = received.reply
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(url):
    with Client(url, timeout=60.0) as client:
        yield client


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def parts_of(received):
    whole = f"Content-Type: {received.content_type}\r\n\r\n".encode() + received.body
    parts: list[Message] = BytesParser().parsebytes(whole).get_payload()
    return {_name(part): (part.get_content_type(), part.get_payload(decode=True)) for part in parts}


def _name(part):
    return part.get_param("name", header="content-disposition")


@pytest.mark.parametrize(
    ("body", "content_type", "sent"),
    [
        pytest.param(b"\x00\xff", "application/octet-stream", b"\x00\xff", id="bytes"),
        pytest.param("häh", "text/plain; charset=utf-8", "häh".encode(), id="text"),
        pytest.param({"a": [1]}, "application/json", b'{"a":[1]}', id="json"),
        pytest.param(
            [np.float32(0.5), np.arange(2)], "application/json", b"[0.5,[0,1]]", id="arrays in json"
        ),
        pytest.param(None, "", b"", id="nothing"),
    ],
)
def test_a_body_goes_out_as_what_it_is(client, received, body, content_type, sent):
    client.invoke(body)

    assert (received.path, received.content_type, received.body) == ("/", content_type, sent)


def test_an_array_goes_out_as_npy(client, received):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)

    client.invoke(array)

    assert received.content_type == "application/x-npy"
    np.testing.assert_array_equal(np.load(io.BytesIO(received.body)), array, strict=True)


def test_parameters_go_out_as_json_by_name(client, received):
    client.invoke(name="Ada", box=[1, 2])

    assert (received.content_type, json.loads(received.body)) == (
        "application/json",
        {"name": "Ada", "box": [1, 2]},
    )


def test_bytes_and_arrays_among_parameters_make_it_multipart(client, received):
    array = np.eye(2)

    client.invoke(image=b"\r\n--\x00", mask=array, name="Ada", limit=3)

    assert parts_of(received) == {
        "image": ("application/octet-stream", b"\r\n--\x00"),
        "mask": ("application/x-npy", npy(array)),
        "name": ("application/json", b'"Ada"'),
        "limit": ("application/json", b"3"),
    }


@pytest.mark.parametrize(
    ("content_type", "body", "answer"),
    [
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("application/json; charset=utf-8", b"null", None),
        ("application/vnd.app+json", b"1", 1),
        ("text/plain; charset=utf-8", "hä".encode(), "hä"),
        ("application/octet-stream", b"\x00", b"\x00"),
        ("image/png", b"\x89", b"\x89"),
    ],
)
def test_the_answer_comes_back_as_its_content_type_says(client, received, content_type, body, answer):
    received.reply = (200, {"Content-Type": content_type}, body)

    assert client.invoke(b"x") == answer


def test_an_array_comes_back_from_npy_and_is_preferred(client, received):
    received.reply = (200, {"Content-Type": "application/x-npy"}, npy(np.arange(3)))

    np.testing.assert_array_equal(client.invoke(b"x"), np.arange(3))
    assert received.accept.startswith("application/x-npy, ")


def test_npy_with_objects_in_it_is_not_unpickled(client, received):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    received.reply = (200, {"Content-Type": "application/x-npy"}, buffer.getvalue())

    with pytest.raises(RequestError, match="the answer says it is application/x-npy, and is not"):
        client.invoke(b"x")


def test_a_problem_is_raised_with_status_stage_and_detail(client, received):
    problem = {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "no image",
        "stage": "decode",
    }
    headers = {"Content-Type": PROBLEM, "X-Call-Id": "c1", "Retry-After": "3"}
    received.reply = (400, headers, json.dumps(problem).encode())

    with pytest.raises(RequestError, match=r"^no image$") as caught:
        client.invoke(b"x")

    assert (caught.value.status, caught.value.stage) == (400, "decode")
    assert caught.value.headers == {"X-Call-Id": "c1", "Retry-After": "3"}


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ((404, b"no\nsuch page"), (404, "no such page")),
        ((503, b""), (503, "Service Unavailable")),
        ((599, b"[1]"), (500, "[1]")),
        ((999, b"x"), (502, "x")),
        ((400, b'{"title": "Bad"}'), (400, "Bad")),
        ((400, b'{"a":' * 9_999), (400, '{"a":' * 40)),
        ((400, b'{"title": "\xff"}'), (400, '{"title": "\ufffd"}')),
    ],
)
def test_other_errors_are_told_too(client, received, sent, told):
    received.reply = (sent[0], {"Content-Type": "text/plain"}, sent[1])

    with pytest.raises(RequestError) as caught:
        client.invoke(b"x")

    assert (caught.value.status, caught.value.detail) == told


def test_nobody_there_is_one_clear_error():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        with Client(url) as client:
            assert not client.ready()
            with pytest.raises(RequestError, match=f"nothing answers at {url}") as caught:
                client.invoke(b"x")
    assert caught.value.status == 503


def test_no_answer_within_the_timeout_is_one_clear_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        with Client(url, timeout=0.05) as client, pytest.raises(RequestError) as caught:
            client.invoke(b"x")

    assert (caught.value.status, caught.value.detail) == (504, f"no answer from {url} within 0.05 s")


def test_an_answer_that_breaks_off_is_one_clear_error(client, received):
    received.reply = (200, {"Content-Length": "10", "Connection": "close"}, b"abc")

    with pytest.raises(RequestError, match="sent no whole HTTP answer") as caught:
        client.invoke(b"x")

    assert caught.value.status == 502


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_ready_asks_the_app(client, received, status, ready):
    received.reply = (status, {}, b"")

    assert client.ready() is ready
    assert received.path == "/_/ready"


def test_a_key_is_shown(url, received):
    with Client(url, timeout=60.0, key="secret-of-mine") as client:
        client.invoke(b"x")

    assert received.key == "Bearer secret-of-mine"


@pytest.mark.parametrize("key", ["secret\n", "sec ret", "schlüssel"])
def test_what_is_no_key_is_refused_untold(key):
    with pytest.raises(SpecError, match="key must be") as caught:
        Client(key=key)

    assert key.strip() not in str(caught.value)


def test_proxies_of_the_environment_do_not_stand_before_loopback(client, received, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    client.invoke(b"x")

    assert received.body == b"x"


@pytest.mark.parametrize(
    ("content_type", "body", "item"),
    [("application/json", b'{"n": 1}', {"n": 1}), ("text/plain; charset=utf-8", "häh".encode(), "häh")],
)
def test_what_a_stage_answers_in_place_of_the_stream_is_its_one_item(
    client, received, content_type, body, item
):
    received.reply = (200, {"Content-Type": content_type}, body)

    assert list(client.stream(b"x")) == [item]
    assert received.accept.startswith("text/event-stream, application/x-npy, application/octet-stream, ")


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("text/event-stream", b"data: {\n\n", (502, "the answer says it is application/json, and is not: ")),
        ("text/event-stream", b"event: error\ndata: what?\n\n", (500, "what?")),
        ("text/event-stream", b'event: error\ndata: {"status": 7}\n\n', (502, "Bad Gateway")),
        ("application/json", b"{", (502, "the answer says it is application/json, and is not: ")),
    ],
    ids=["item", "error", "status", "answer"],
)
def test_a_stream_of_what_it_should_not_be_is_one_clear_error(client, received, content_type, body, told):
    received.reply = (200, {"Content-Type": content_type}, body)

    with pytest.raises(RequestError) as caught:
        list(client.stream(b"x"))

    status, detail = told
    assert (caught.value.status, caught.value.detail[: len(detail)]) == (status, detail)


def test_an_answer_in_place_of_the_stream_that_breaks_off_is_one_clear_error(client, received):
    headers = {"Content-Length": "10", "Connection": "close", "Content-Type": "application/json"}
    received.reply = (200, headers, b"[1]")

    with pytest.raises(RequestError, match="the stream broke off") as caught:
        list(client.stream(b"x"))

    assert caught.value.status == 502


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://host", "http://", ""])
def test_a_url_must_be_one(url):
    with pytest.raises(SpecError, match="url must be like http://host:8080, was "):
        Client(url)


def test_a_body_and_parameters_exclude_each_other(client):
    with pytest.raises(SpecError, match="a body or parameters, not both"):
        client.invoke(b"x", name="Ada")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"a": object()}, "a value of type dict cannot be sent as JSON: object"),
        (np.array([{}]), "an array of object"),
    ],
    ids=["json", "npy"],
)
def test_what_cannot_be_sent_is_named(client, body, message):
    with pytest.raises(SpecError, match=message):
        client.invoke(body)
