"""What an upstream sends behind its answer."""

import uvloop

GET = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"


def test_what_comes_behind_a_body_is_no_header_of_its_answer(before, answers):
    async def main():
        async with before(answers(CHUNKED + b"X-Own: 1\r\n\r\n")) as front:
            return await front.ask(GET)

    head, body = uvloop.run(main())

    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"X-Own" not in head
    assert b"hi" in body


def test_an_answer_that_is_framed_in_too_many_bytes_is_broken_off(before, answers, caplog):
    async def main():
        async with before(answers(CHUNKED + b"X: 1\r\n" * (1 << 20))) as front:
            return await front.ask(GET)

    _, body = uvloop.run(main())

    assert not body.endswith(b"0\r\n\r\n")
    assert "the chunks of the upstream's answer are framed in too many bytes" in caplog.text
