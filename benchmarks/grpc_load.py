"""Drive a gRPC method: closed loop, one connection, a fixed number of streams in flight.

A gRPC client in Python costs as much as the server that it is to measure, so this speaks just enough HTTP/2
itself: every request is the same bytes but for its stream's number, and an answer counts if it holds what is
expected. Run as `python -m benchmarks.grpc_load PORT PATH MESSAGE EXPECTED STREAMS SECONDS` (both in hex).
"""

from __future__ import annotations

import json
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.load import Load

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
WINDOW = 1 << 30
"""Bytes that the server may send in all: more than a run ever takes."""
FIRST_WINDOW = 65535


def drive(
    port: int, path: str, message: bytes, expected: bytes, *, streams: int, seconds: float, core: int
) -> Load:
    """Call a method over and over for some seconds, from a process of its own on one core."""
    words = [str(port), path, message.hex(), expected.hex(), str(streams), str(seconds)]
    command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.grpc_load", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout))


class Connection:
    """A connection that sends one request over and over."""

    def __init__(self, port: int, path: str, message: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._window = FIRST_WINDOW
        self._stream = -1
        self._headers = _headers(path, port)
        self._data = b"\0" + struct.pack(">I", len(message)) + message
        settings = struct.pack(">HI", 4, (1 << 31) - 1)
        grown = struct.pack(">I", WINDOW)
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, grown))

    def close(self) -> None:
        self._socket.close()

    def send(self, count: int) -> list[int]:
        """Send up to as many requests as the server's window allows; return their streams."""
        count = min(count, self._window // len(self._data))
        self._window -= count * len(self._data)
        sent = [self._stream + 2 * (at + 1) for at in range(count)]
        self._stream += 2 * count
        self._socket.sendall(
            b"".join(
                _frame(HEADERS, END_HEADERS, stream, self._headers)
                + _frame(DATA, END_STREAM, stream, self._data)
                for stream in sent
            )
        )
        return sent

    def answers(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Wait for something, and yield the frames that came as (type, flags, stream, payload)."""
        more = self._socket.recv(1 << 18)
        if not more:
            raise SystemExit("the server closed the connection")
        data = self._received + more
        place = 0
        while len(data) - place >= 9:
            length = int.from_bytes(data[place : place + 3], "big")
            if len(data) - place - 9 < length:
                break
            kind, flags, stream = data[place + 3], data[place + 4], _number(data[place + 5 : place + 9])
            payload = data[place + 9 : place + 9 + length]
            place += 9 + length
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._socket.sendall(_frame(kind, ACK, 0, payload if kind == PING else b""))
            elif kind == WINDOW_UPDATE and not stream:
                self._window += _number(payload)
            elif kind == GOAWAY:
                raise SystemExit(f"the server ended the connection: {payload!r}")
            yield kind, flags, stream, payload
        self._received = data[place:]


def run(connection: Connection, expected: bytes, streams: int, seconds: float) -> Load:
    began: dict[int, float] = {}
    right: set[int] = set()
    times: list[float] = []
    failed = 0
    start = now = time.perf_counter()
    while now - start < seconds or began:
        free = streams - len(began) if now - start < seconds else 0
        for stream in connection.send(free) if free else ():
            began[stream] = now
        for kind, flags, stream, payload in connection.answers():
            if kind == DATA and expected in payload:
                right.add(stream)
            if stream in began and (kind == RST_STREAM or flags & END_STREAM) and kind != WINDOW_UPDATE:
                times.append(time.perf_counter() - began.pop(stream))
                failed += stream not in right
                right.discard(stream)
        now = time.perf_counter()
    cuts = statistics.quantiles(times, n=100)
    return Load(
        requests=len(times), seconds=now - start, p50=cuts[49], p95=cuts[94], p99=cuts[98], failed=failed
    )


def main() -> None:
    port, path, message, expected, streams, seconds = sys.argv[1:]
    connection = Connection(int(port), path, bytes.fromhex(message))
    got = run(connection, bytes.fromhex(expected), int(streams), float(seconds))
    connection.close()
    print(json.dumps({name: getattr(got, name) for name in Load.__slots__}))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big") & 0x7FFFFFFF


def _headers(path: str, port: int) -> bytes:
    """A request's header block: literals that need no table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": f"127.0.0.1:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "benchmark",
    }
    block = b""
    for name, text in fields.items():
        for part in (b"\0", name.encode(), text.encode()):
            block += part if part == b"\0" else bytes((len(part),)) + part
    return block


if __name__ == "__main__":
    main()
