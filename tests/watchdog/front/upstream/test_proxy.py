"""A front before an upstream, as a caller sees both: what passes, what is refused, and what fails when."""

import asyncio

import pytest
import uvloop

from regrain_watchdog.front.upstream import client

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nhi"
GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
VALID = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def counted(front, status, method="GET"):
    return f'http_requests_total{{code="{status}",method="{method}"}} 1.0'.encode() in front.measure.page()[1]


def test_path_query_host_and_headers_reach_the_upstream_as_they_came(before, answers):
    async def main():
        async with before(answers(OK)) as front:
            await front.ask(
                b"GET /a%2Fb//c?x=%20y&x HTTP/1.1\r\nHost: some.where:81\r\nX-Odd: caf\xe9\r\nX-Call-Id: mine\r\n"
                b"Connection: close, X-Own\r\nX-Own: 1\r\nTE: trailers\r\n\r\n"
            )
            return front.heads[0]

    assert uvloop.run(main()) == (
        b"GET /a%2Fb//c?x=%20y&x HTTP/1.1\r\nHost: some.where:81\r\nX-Odd: caf\xe9\r\nX-Call-Id: mine\r\n\r\n"
    )


def test_the_answer_comes_back_with_call_id_and_duration(before, answers):
    async def main():
        async with before(answers(OK)) as front:
            head, body = await front.ask(GET)
            assert counted(front, 200)
            return head, body

    head, body = uvloop.run(main())

    assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\nX-Call-Id: ")
    assert b"\r\nX-Duration-Seconds: 0." in head
    assert head.endswith(b"\r\nconnection: close")
    assert body == b"hi"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(
            b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", 302, id="redirect"
        ),
        pytest.param(b"HTTP/1.1 418 I am a teapot\r\nContent-Length: 0\r\n\r\n", 418, id="client error"),
        pytest.param(b"HTTP/1.1 500 Oh no\r\nContent-Length: 4\r\n\r\nbody", 500, id="server error"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, id="no content"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, id="after a provisional answer"),
    ],
)
def test_what_the_upstream_says_is_passed_through(before, answers, raw, status):
    async def main():
        async with before(answers(raw)) as front:
            head, body = await front.ask(GET)
            assert counted(front, status)
            return head, body

    head, body = uvloop.run(main())
    said, _, content = raw.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")

    assert head.startswith(said)
    assert b"x-openfaas-internal" not in head
    assert body == content


def test_a_stream_is_passed_on_piece_by_piece(before):
    seen = asyncio.Event()

    async def serve(reader, writer):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        writer.write(b"9\r\ndata: 1\n\n\r\n")
        await seen.wait()
        writer.write(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    async def main():
        async with before(serve) as front:
            reader, writer = await front.connect()
            writer.write(GET)
            async with asyncio.timeout(60):
                first = await reader.readuntil(b"data: 1\n\n")
                seen.set()
                rest = await reader.read()
            writer.close()
            return first, rest

    first, rest = uvloop.run(main())

    assert b"transfer-encoding: chunked" in first
    assert rest.endswith(b"data: 2\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "framing", [b"Transfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n", b"Content-Length: 9\r\n\r\nbegun"]
)
def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(before, framing):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing)
        await writer.drain()
        writer.close()
        raise ConnectionError

    async def main():
        async with before(serve) as front:
            reader, writer = await front.connect()
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            got = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return got.partition(b"\r\n\r\n")[2], counted(front, 502)

    body, is_failure = uvloop.run(main())

    assert body in (b"begun", b"5\r\nbegun\r\n")
    assert is_failure


@pytest.mark.parametrize(
    ("raw", "status", "detail"),
    [
        pytest.param(b"X-Timeout: soon\r\n", 400, "X-Timeout must be a duration", id="bad timeout"),
        pytest.param(b"X-Timeout: 0s\r\n", 400, "X-Timeout must be a duration", id="no timeout at all"),
        pytest.param(b"X-Call-Id: a b\r\n", 400, "X-Call-Id must be", id="bad call id"),
        pytest.param(b"Host: there\r\n", 400, "one Host", id="two hosts"),
        pytest.param(b"Content-Length: 2000\r\n", 413, "more than 1000 bytes", id="too large"),
    ],
)
def test_bad_requests_are_refused_before_the_upstream_sees_them(
    before, answers, raw, status, detail, *, refusal
):
    async def main():
        async with before(answers(OK), max_body=1000) as front:
            told = refusal(
                await front.ask(b"POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n" + raw + b"\r\n")
            )
            assert front.heads == []
            return told

    got, said = uvloop.run(main())

    assert got == status
    assert detail in said


async def never(reader, writer):
    await reader.read()


@pytest.mark.parametrize(
    ("header", "settings"),
    [
        pytest.param(b"", {"exec_timeout": 0.1}, id="by the setting"),
        pytest.param(b"X-Timeout: 100ms\r\n", {"exec_timeout": 30.0}, id="lowered by the caller"),
        pytest.param(b"X-Timeout: 1h\r\n", {"exec_timeout": 0.1}, id="not raised by the caller"),
        pytest.param(b"X-Timeout: 100ms\r\n", {"exec_timeout": 0.0}, id="set by the caller alone"),
    ],
)
def test_an_answer_that_does_not_come_in_time_is_504(before, header, settings, refusal):
    async def main():
        async with before(never, **settings) as front:
            told = refusal(
                await front.ask(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n" + header + b"\r\n")
            )
            assert front.proxy.gate.inside == 0
            assert [miss.reason for miss in front.measure.misses] == ["late"]
            return told

    assert uvloop.run(main()) == (504, "the upstream gave no answer within 0.1 s")


def test_a_stream_that_stalls_is_broken_off(before, with_time):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        await reader.read()

    async def main(seconds):
        async with before(serve, exec_timeout=seconds) as front:
            _, body = await front.ask(GET)
            assert (body, counted(front, 504)) == (b"1\r\nx\r\n", True)

    with_time(lambda seconds: uvloop.run(main(seconds)), 0.1)


def test_no_upstream_is_502(before, answers, deaf_port, refusal):
    async def main():
        async with before(answers(OK), upstream_port=deaf_port) as front:
            return refusal(await front.ask(GET))

    assert uvloop.run(main()) == (502, "the upstream does not accept connections")


@pytest.mark.parametrize(
    "raw", [b"nonsense\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"]
)
def test_an_answer_that_is_no_http_is_502(before, answers, raw, refusal):
    async def main():
        async with before(answers(raw)) as front:
            return refusal(await front.ask(GET))

    status, detail = uvloop.run(main())

    assert status == 502
    assert "no HTTP" in detail


@pytest.mark.parametrize(("method", "statuses"), [("GET", [200, 200]), ("POST", [200, 502])])
def test_only_a_safe_request_is_sent_again_when_its_kept_connection_closes(
    before, monkeypatch, method, statuses
):
    """The upstream answers the first request on each connection and hangs up on the second."""
    monkeypatch.setattr(client, "IDLE", 60.0)
    asked = []

    async def serve(reader, writer):
        connection = writer.get_extra_info("peername")
        if connection in asked:
            writer.transport.abort()
            raise ConnectionError
        asked.append(connection)
        writer.write(OK)

    async def main():
        async with before(serve) as front:
            raw = method.encode() + b" / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
            return [int((await front.ask(raw))[0].split()[1]) for _ in range(2)]

    assert uvloop.run(main()) == statuses


def test_requests_over_max_inflight_wait_in_line_and_then_429(before, refusal):
    release = asyncio.Event()

    async def serve(reader, writer):
        await release.wait()
        writer.write(OK)

    async def main():
        async with before(serve, max_inflight=1, max_queue=2) as front:
            asking = []
            for place in range(3):
                asking.append(asyncio.create_task(front.ask(GET)))
                while front.proxy.gate.inside + front.proxy.gate.waiting <= place:
                    await asyncio.sleep(0)
            refused = await front.ask(GET)
            release.set()
            return refused, await asyncio.gather(*asking), len(front.heads)

    refused, answered, seen = uvloop.run(main())

    assert refusal(refused) == (429, "2 requests wait already")
    assert b"\r\nretry-after: 1" in refused[0]
    assert [body for _, body in answered] == [b"hi"] * 3
    assert seen == 3


def test_a_request_whose_turn_does_not_come_in_time_is_504(before, refusal):
    async def main():
        async with before(never, max_inflight=1, exec_timeout=0.0) as front:
            _, first = await front.connect()
            first.write(GET)
            while not front.heads:
                await asyncio.sleep(0)
            told = refusal(await front.ask(GET.replace(b"Host", b"X-Timeout: 50ms\r\nHost")))
            first.close()
            while front.proxy.gate.inside:
                await asyncio.sleep(0)
            return told, front.proxy.gate.waiting, len(front.heads)

    assert uvloop.run(main()) == ((504, "the upstream had no place for it before its deadline"), 0, 1)


def test_a_caller_that_leaves_frees_its_place_and_its_connection(before):
    left = asyncio.Event()

    async def serve(reader, writer):
        await reader.read()
        left.set()

    async def main():
        async with before(serve, max_inflight=1) as front:
            _, writer = await front.connect()
            writer.write(GET)
            while not front.heads:
                await asyncio.sleep(0)
            writer.close()
            async with asyncio.timeout(60):
                await left.wait()
            return front.proxy.gate.inside, counted(front, 499)

    assert uvloop.run(main()) == (0, True)


@pytest.mark.parametrize(
    ("settings", "status", "said"),
    [
        pytest.param({}, 200, b"OK", id="accepts"),
        pytest.param({"ready_path": "/healthz"}, 200, b"OK", id="path answers"),
        pytest.param(
            {"ready_path": "/broken"}, 503, b"the upstream answers GET /broken with 500", id="path fails"
        ),
    ],
)
def test_ready_asks_the_upstream(before, settings, status, said):
    async def main():
        heads = []

        async def serve(reader, writer):
            heads.append(front.heads[-1])
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n" if b"/broken" in heads[-1] else OK)

        async with before(serve, **settings) as front:
            head, body = await front.ask(GET.replace(b"/ ", b"/_/ready ", 1))
            health, _ = await front.ask(GET.replace(b"/ ", b"/_/health ", 1))
            return int(head.split()[1]), body, health.split()[1], front.measure.in_flight

    assert uvloop.run(main()) == (status, said, b"200", 0)


def test_ready_says_no_while_the_upstream_does_not_accept(before, answers, deaf_port):
    async def main():
        async with before(answers(OK), upstream_port=deaf_port) as front:
            return await front.ask(GET.replace(b"/ ", b"/_/ready ", 1))

    head, body = uvloop.run(main())

    assert head.startswith(b"HTTP/1.1 503 ")
    assert body == b"the upstream does not accept connections"


def test_a_key_is_asked_for_and_kept_from_the_upstream(before, answers, tmp_path, refusal):
    (tmp_path / "key").write_text("a-secret-of-many-letters")
    (tmp_path / "key").chmod(0o600)
    shown = GET.replace(b"Host", b"Authorization: Bearer a-secret-of-many-letters\r\nHost")

    async def main():
        async with before(answers(OK), invocation_key_file=str(tmp_path / "key")) as front:
            refused = await front.ask(GET)
            health, _ = await front.ask(GET.replace(b"/ ", b"/_/health ", 1))
            _, body = await front.ask(shown)
            return refusal(refused)[0], health.split()[1], body, front.heads

    status, health, body, heads = uvloop.run(main())

    assert (status, health, body, len(heads)) == (401, b"200", b"hi", 1)
    assert b"secret" not in heads[0]


def test_each_request_is_logged_and_traced_where_that_is_asked_for(before, answers, caplog):
    async def main():
        async with before(answers(OK), access_log="text", trace_context="make") as front:
            await front.ask(GET.replace(b"Host", b"traceparent: nonsense\r\nX-Call-Id: mine\r\nHost"))
            return front.heads[0]

    caplog.set_level("INFO", "regrain.access")
    head = uvloop.run(main())

    (record,) = caplog.records
    assert (record.status, record.call_id, record.sent, record.path) == (200, "mine", 2, "/")
    assert b"nonsense" not in head
    assert f"traceparent: 00-{record.trace_id}-".encode() in head


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"traceparent: nonsense\r\ntracestate: a=1\r\n", []),
        (b"TraceState: a=1\r\n", []),
        (b"Traceparent: %s\r\ntracestate: a=1\r\n" % VALID, [b"Traceparent: " + VALID, b"tracestate: a=1"]),
    ],
    ids=["malformed", "a state alone", "valid"],
)
def test_a_trace_context_is_passed_on_where_it_is_one(before, answers, sent, passed):
    async def main():
        async with before(answers(OK)) as front:
            await front.ask(GET.replace(b"Host", sent + b"Host"))
            return front.heads[0]

    lines = uvloop.run(main()).split(b"\r\n")

    assert [line for line in lines if line.lower().startswith(b"trace")] == passed
