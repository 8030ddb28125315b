"""What is a request and what is none, at a real port."""

import asyncio
import socket

import pytest

from regrain_watchdog.front.http1 import connection as connections
from regrain_watchdog.front.http1.limits import AHEAD
from regrain_watchdog.front.http1.parse import Requests

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def served(listen, echo, raw):
    client = listen(echo)
    return lambda: raw(client)


def test_a_connection_serves_one_request_after_the_other(served):
    connection = served()
    for body in (b"a", b"", b"ccc"):
        connection.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)

        assert connection.response()[::2] == (200, b"POST " + body)


@pytest.mark.parametrize(
    ("request_", "keeps"),
    [
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", False, id="1.0"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, id="1.0 that stays"),
        pytest.param(GET + b"\r\n", True, id="1.1"),
        pytest.param(GET + b"Connection: close\r\n\r\n", False, id="1.1 that closes"),
        pytest.param(GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", False, id="upgrade"),
    ],
)
def test_a_connection_stays_open_where_its_request_wants_so(served, request_, keeps):
    connection = served()
    connection.send(request_)

    status, headers, _ = connection.response()

    assert status == 200
    assert headers.get("connection") == (
        "close" if not keeps else "keep-alive" if b"/1.0" in request_ else None
    )
    if keeps:
        connection.send(request_)
        assert connection.response()[0] == 200
    else:
        assert connection.rest() == b""


def test_pipelined_requests_are_answered_in_order_however_many(served, echo):
    connection = served()
    connection.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(1000)))

    answers = [connection.response()[1]["x-path"] for _ in range(1000)]

    assert answers == [f"/{number}" for number in range(1000)]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_behind_as_many_requests_as_are_parsed_ahead_is_read_on(served, framing):
    body = b"b" * 40_000
    length = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    chunks = CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    connection = served()
    connection.send((GET + b"\r\n") * (AHEAD - 1) + (length if framing == "length" else chunks))

    for _ in range(AHEAD - 1):
        assert connection.response()[::2] == (200, b"GET ")
    assert connection.response()[::2] == (200, b"POST " + body)


def test_no_more_is_parsed_and_read_while_enough_requests_wait(listen, gate, raw):
    client = listen(gate)
    connection = raw(client)
    connection.send(GET + b"\r\n")
    assert gate.entered.wait(60)

    sent = connection.fill((GET + b"A: " + b"a" * 4000 + b"\r\n\r\n") * 10_000, client)

    assert sent < 40_000_000


class Source:
    """Counts how often it was told to receive nothing more."""

    def __init__(self):
        self.holds = 0

    def hold(self):
        self.holds += 1

    def release(self):
        self.holds -= 1


def test_small_pieces_are_parsed_no_further_ahead_than_large_ones():
    source, few = Source(), (GET + b"\r\n") * 4
    requests = Requests(source)

    for _ in range(100):
        requests.feed(few)

    assert (len(requests.ahead), source.holds) == (AHEAD, 1)
    answered = 0
    while requests.ahead:
        answered += len(requests.ahead)
        requests.ahead.clear()
        requests.go_on()
    assert (answered, source.holds) == (400, 0)


def test_what_came_of_a_body_is_let_go_of_with_its_connection():
    requests = Requests(Source())
    requests.feed(POST + b"Content-Length: 10\r\n\r\nabc")
    body = requests.ahead[0].body

    requests.close()

    body.end()
    assert body.arrived() == b""


def test_a_request_in_single_bytes_is_read_whole(served):
    connection = served()
    for byte in CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n" + GET + b"\r\n":
        connection.send(bytes([byte]))

    assert connection.response()[::2] == (200, b"POST abcde")
    assert connection.response()[::2] == (200, b"GET ")


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a%20b/%C3%B8?x=%20", "/a b/ø"),
        (b"http://host/p?q", "/p"),
        (b"http://host", "/"),
        (b"*", "*"),
    ],
)
def test_a_path_is_decoded_and_its_query_is_not(answering, raw, target, path):
    seen = []

    async def answer(scope, proto):
        seen.append((scope.path, scope.query_string, scope.method))
        proto.response_empty(204, [])

    connection = raw(answering(answer))
    connection.send(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert connection.response()[0] == 204
    assert seen == [(path, target.partition(b"?")[2].decode(), "OPTIONS")]


def test_headers_are_told_in_lower_case_joined_and_trimmed(answering, raw):
    seen = []

    async def answer(scope, proto):
        seen.append(scope.headers)
        proto.response_empty(204, [])

    connection = raw(answering(answer))
    connection.send(GET + "X-A:  1 \t\r\nx-a: ø\r\n".encode() + b"X-B: \xff\r\n\r\n")
    connection.response()

    assert seen == [{"host": "x", "x-a": "1, ø", "x-b": "ÿ"}]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"NONSENSE\r\n\r\n", 400, id="no request line"),
        pytest.param(b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="method"),
        pytest.param(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, id="version 2"),
        pytest.param(b"GET /\r\n\r\n", 505, id="version 0.9"),
        pytest.param(b"GET / HTTP/1.1\nHost: x\n\n", 400, id="bare line feeds"),
        pytest.param(b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="odd target"),
        pytest.param(b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="to be a proxy"),
        pytest.param(b"GET http://a:99999/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, id="no port"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param(GET + b"Host: y\r\n\r\n", 400, id="two hosts"),
        pytest.param(GET + b"A : 1\r\n\r\n", 400, id="space after a name"),
        pytest.param(GET + b"A: 1\r\n 2\r\n\r\n", 400, id="folded header"),
        pytest.param(GET + b"A: 1\0\r\n\r\n", 400, id="nul"),
        pytest.param(GET + b"A: 1\r2\r\n\r\n", 400, id="cr"),
        pytest.param(GET + b"A: 1\n\r\n", 400, id="lf"),
        pytest.param(
            POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="both lengths"
        ),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400, id="both, other way"
        ),
        pytest.param(POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, id="two lengths"),
        pytest.param(POST + b"Content-Length: 99999999999999999999\r\n\r\n", 400, id="absurd length"),
        pytest.param(POST + b"Content-Length: +1\r\n\r\n", 400, id="signed length"),
        pytest.param(POST + b"Content-Length: " + b"0" * 5000 + b"1\r\n\r\nx", 400, id="endless length"),
        pytest.param(POST + b"Transfer-Encoding: gzip\r\n\r\n", 501, id="no chunks"),
        pytest.param(POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, id="coding"),
        pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, id="chunks in 1.0"),
        pytest.param(CHUNKED + b"zz\r\n", 400, id="chunk size"),
        pytest.param(CHUNKED + b"1\r\nabc\r\n", 400, id="chunk longer than its size"),
        pytest.param(CHUNKED + b"f" * 20 + b"\r\n", 400, id="absurd chunk"),
        pytest.param(POST + b"Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", 417, id="expectation"),
        pytest.param(GET + b"A: 1\r\n" * 128 + b"\r\n", 431, id="many headers"),
        pytest.param(GET + b"A: " + b"a" * (1 << 17) + b"\r\n\r\n", 431, id="long header"),
        pytest.param(GET + (b"A: " + b"a" * 1000 + b"\r\n") * 66 + b"\r\n", 431, id="long head"),
        pytest.param(b"GET /" + b"a" * (1 << 14) + b" HTTP/1.1\r\n", 414, id="long target"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(served, echo, request_, status):
    connection = served()
    connection.send(request_)

    refused, headers, body = connection.response()

    assert refused == status
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert b'"status":%d' % status in body
    assert connection.rest() == b""
    assert echo.paths == []


def test_a_head_may_be_as_large_as_the_limit(served):
    connection = served()
    connection.send(GET + (b"A: " + b"a" * 1000 + b"\r\n") * 64 + b"\r\n")

    assert connection.response()[0] == 200


def test_what_came_before_a_broken_request_is_answered_first(served):
    connection = served()
    connection.send(GET + b"\r\n" + GET + b"\r\n" + b"GET / BROKEN\r\n\r\n")

    assert [connection.response()[0] for _ in range(3)] == [200, 200, 400]
    assert connection.rest() == b""


def test_what_follows_a_request_that_closes_is_not_read(served, echo):
    connection = served()
    connection.send(GET + b"Connection: close\r\n\r\n" + GET + b"\r\n")

    assert connection.response()[0] == 200
    assert connection.rest() == b""
    assert echo.paths == ["/"]


def test_a_caller_that_asks_first_is_told_to_send(served):
    connection = served()
    connection.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert connection.response()[0] == 100
    connection.send(b"abc")

    assert connection.response()[::2] == (200, b"POST abc")


def test_a_caller_that_asks_first_and_is_refused_sends_nothing(answering, raw):
    async def refuse(scope, proto):
        proto.response_bytes(413, [], b"too large")

    connection = raw(answering(refuse))
    connection.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")

    status, headers, body = connection.response()
    assert (status, headers["connection"], body) == (413, "close", b"too large")
    assert connection.rest() == b""


def test_a_small_body_that_nobody_wanted_is_read_for_the_next_request(answering, raw):
    async def ignore(scope, proto):
        proto.response_bytes(200, [], scope.path.encode())

    connection = raw(answering(ignore))
    connection.send(POST + b"Content-Length: 3\r\n\r\n")
    assert connection.response()[0] == 200
    connection.send(b"abcGET /next HTTP/1.1\r\nHost: x\r\n\r\n")

    assert connection.response()[::2] == (200, b"/next")


def test_a_large_body_that_nobody_wanted_ends_the_connection_after_its_answer_was_read(
    answering, raw, monkeypatch
):
    monkeypatch.setattr(connections, "LINGER", 60.0)  # the sender may stand still

    async def refuse(scope, proto):
        await asyncio.sleep(0.1)  # the body comes meanwhile, and is held back
        proto.response_bytes(413, [], b"no")

    connection = raw(answering(refuse))
    connection.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n" + bytes(20_000_000))

    status, headers, body = connection.response()
    assert (status, headers["connection"], body) == (413, "close", b"no")


def test_chunks_of_one_byte_with_endless_extensions_are_refused(served):
    connection = served()
    connection.send(CHUNKED + (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 80)

    assert connection.response()[0] == 400


@pytest.mark.parametrize("nbytes", [(1 << 16) - 1, 1 << 16, (1 << 20) + 7])
def test_a_long_body_in_pieces_is_read_whole_and_what_follows_it_too(served, nbytes):
    body = bytes(range(256)) * (nbytes // 256) + b"x" * (nbytes % 256)
    connection = served()
    connection.send(POST + b"Content-Length: %d\r\n\r\n" % nbytes + body[:1000])
    connection.send(body[1000 : nbytes // 2])
    connection.send(body[nbytes // 2 :] + GET + b"\r\n")

    assert connection.response()[::2] == (200, b"POST " + body)
    assert connection.response()[::2] == (200, b"GET ")
    connection.send(POST + b"Content-Length: 1\r\n\r\nb")
    assert connection.response()[::2] == (200, b"POST b")


def test_a_long_body_that_breaks_off_is_refused(listen, echo, raw):
    connection = raw(listen(echo))
    connection.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 300_000)
    connection.connection.shutdown(socket.SHUT_WR)

    assert connection.response()[0] == 400
    assert connection.rest() == b""
