"""Requests with something wrong in them, at a real port: each is answered or closed, and the next good one served."""

import random
import socket

SEED = 20261122
COUNT = 2000
GOOD = b"GET /good HTTP/1.1\r\nHost: x\r\n\r\n"
SEEDS = (
    GOOD,
    b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nT: 1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GOOD,
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://a:99999/ HTTP/1.1\r\nHost: x\r\n\r\n",
)
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Host: y\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"HTTP/1.1",
    b"A" * 9000,
    b"B: b\r\n" * 200,
)


def _mutated(rng):
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.choice(PIECES)
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2:
                data[at : at + 1] = rng.randbytes(1)
            case 3:
                data[at:at] = data[: rng.randrange(len(data) + 1)]
            case _:
                del data[at:]
    return bytes(data)


def _said(client, data, rng):
    """All that a connection answers to some bytes, sent in one or two pieces and ended."""
    with client.connect() as connection:
        cut = rng.randrange(len(data) + 1)
        try:
            for piece in (data[:cut], data[cut:]):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            said = b""
            while chunk := connection.recv(1 << 16):
                said += chunk
        except (ConnectionResetError, BrokenPipeError, OSError):
            return b""
    return said


def test_whatever_comes_is_answered_or_closed_and_the_next_good_request_is_served(listen, echo, caplog):
    client, rng = listen(echo), random.Random(SEED)
    statuses = set()
    for number in range(COUNT):
        data = _mutated(rng)
        said = _said(client, data, rng)
        assert said == b"" or said.startswith(b"HTTP/1.1 "), data
        statuses.update(said.split(b" ", 2)[1:2])
        if number % 50 == 0:
            assert client.request("GET", "/good").body == b"GET "

    assert client.request("GET", "/good").body == b"GET "
    assert statuses >= {b"200", b"400", b"431", b"505"}
    assert statuses <= {b"100", b"200", b"400", b"414", b"417", b"431", b"501", b"505"}
    assert [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")] == []
