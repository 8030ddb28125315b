"""Bodies of requests on their way to the upstream: streamed, given a length, too large, or not coming."""

import pytest
import uvloop

from regrain_watchdog.front.upstream import edge


@pytest.mark.parametrize("chunked", [False, True], ids=["of a length", "in chunks"])
def test_a_large_body_is_streamed_there_and_back(before, chunked):
    sent = bytes(range(256)) * 8000

    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent))
        if not chunked:
            writer.write(await reader.readexactly(len(sent)))
            return
        while size := int(await reader.readline(), 16):
            writer.write((await reader.readexactly(size + 2))[:-2])
        await reader.readline()

    async def main():
        async with before(serve) as front:
            head = b"POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"
            if chunked:
                pieces = [sent[at : at + 70_000] for at in range(0, len(sent), 70_000)]
                body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
                _, back = await front.ask(head + b"Transfer-Encoding: chunked\r\n\r\n" + body)
            else:
                _, back = await front.ask(head + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
            return back

    assert uvloop.run(main()) == sent


def test_a_small_chunked_body_gets_a_length(before):
    async def serve(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + await reader.readexactly(5))

    async def main():
        async with before(serve) as front:
            raw = b"POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
            _, body = await front.ask(raw + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n")
            return front.heads[0], body

    head, body = uvloop.run(main())

    assert b"Content-Length: 5\r\n" in head
    assert b"Transfer-Encoding" not in head
    assert body == b"hello"


def test_a_chunked_body_over_the_limit_is_refused(before, refusal, monkeypatch):
    monkeypatch.setattr(edge, "LINGER", 60.0)  # the sender may stand still

    async def serve(reader, writer):
        await reader.read()

    async def main():
        async with before(serve, max_body=100_000) as front:
            piece = b"%x\r\n%s\r\n" % (70_000, b"x" * 70_000)
            raw = b"POST / HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
            return refusal(await front.ask(raw + piece + piece))

    assert uvloop.run(main()) == (413, "the body has more than 100000 bytes (REGRAIN_MAX_BODY)")


@pytest.mark.parametrize("length", [b"10", b"100000"], ids=["small", "large"])
def test_a_body_that_does_not_come_is_answered_408(before, length, refusal):
    async def serve(reader, writer):
        await reader.read()

    async def main():
        async with before(serve, body_timeout=0.1) as front:
            return refusal(
                await front.ask(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: " + length + b"\r\n\r\nx")
            )

    assert uvloop.run(main())[0] == 408
