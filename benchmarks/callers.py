"""Callers of many kinds for a soak: each sends one request and says whether what came is what should have come.

They ask benchmarks/apps/mixed.py and examples/stream.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable

import grpc
import numpy as np
import requests

from regrain import GrpcClient
from regrain.errors import RegrainError

TIMEOUT = 20.0
LARGE = 150_000
"""Numbers in a large array: 600 KB."""
PAUSE = 0.04
"""Mean of the seconds that a caller waits between two requests, exponential."""
MODEL = "/v2/models/mixed/infer"
NPY = "application/x-npy"
CANCELLED = 0.01
"""Seconds at most until a caller that does not wait for its answer goes away."""
ANY = (200, 400, 404, 405, 408, 411, 413, 414, 415, 426, 431, 501, 505)
"""What a request with a few wrong bytes may be answered."""


class Callers:
    """Threads that call the two apps in turns at random, until told to end.

    Args:
        mixed, streamed: the ports of the two apps; grpc_port: the first one's over gRPC.
        count: how many threads.
        seed: of what they send.

    Attributes:
        sent: how many requests, by kind.
        wrong: of how many something else came than should, by kind and what came.
    """

    def __init__(self, mixed: int, grpc_port: int, streamed: int, *, count: int, seed: int) -> None:
        self.sent: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self._mixed = f"http://127.0.0.1:{mixed}"
        self._streamed = f"http://127.0.0.1:{streamed}"
        self._port = mixed
        self._grpc = GrpcClient(f"127.0.0.1:{grpc_port}", timeout=TIMEOUT)
        self._large = np.arange(LARGE, dtype=np.float32) % 7
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(f"{seed} {at}",)) for at in range(count)]
        self._kinds: dict[str, Callable[[requests.Session, random.Random], str]] = {
            "json": self._json,
            "arrays": self._array,
            "600 KB": self._large_array,
            "stream": self._stream,
            "gRPC": self._over_grpc,
            "OIP": self._oip,
            "wrong value": self._wrong_value,
            "malformed": self._malformed,
            "cancelled": self._cancelled,
        }

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the requests under way."""
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._grpc.close()

    def _run(self, seed: str) -> None:
        rng = random.Random(seed)
        names = list(self._kinds)
        with requests.Session() as session:
            while not self._end.wait(rng.expovariate(1 / PAUSE)):
                kind = rng.choice(names)
                try:
                    wrong = self._kinds[kind](session, rng)
                except (requests.RequestException, RegrainError, grpc.RpcError, ValueError) as error:
                    wrong = repr(error)
                with self._lock:
                    self.sent[kind] += 1
                    if wrong:
                        self.wrong[f"{kind}: {wrong[:200]}"] += 1

    def _json(self, session: requests.Session, rng: random.Random) -> str:
        name = f"caller {rng.randrange(1000)}"
        wanted = {"hello": name, "count": 2, "sum": 8.0}
        return _compare(
            session.post(self._mixed, json={"values": [1, 2], "name": name}, timeout=TIMEOUT), wanted
        )

    def _array(self, session: requests.Session, rng: random.Random) -> str:
        count = rng.randrange(1, 3000)
        return self._npy(session, np.ones(count, np.float32), {"count": count, "sum": 3.0 * count})

    def _large_array(self, session: requests.Session, _rng: random.Random) -> str:
        return self._npy(session, self._large, {"count": LARGE})

    def _npy(self, session: requests.Session, values: np.ndarray, wanted: dict[str, object]) -> str:
        body = io.BytesIO()
        np.save(body, values)
        headers = {"Content-Type": NPY}
        response = session.post(self._mixed, data=body.getvalue(), headers=headers, timeout=TIMEOUT)
        return _compare(response, wanted)

    def _stream(self, session: requests.Session, rng: random.Random) -> str:
        body = {"about": "rain"}
        if rng.random() < 0.2:  # one that leaves in the middle
            with session.post(self._streamed, json=body, stream=True, timeout=TIMEOUT) as response:
                return "" if next(response.iter_lines()) else "no first item"
        response = session.post(self._streamed, json=body, timeout=TIMEOUT)
        last = response.text.splitlines()[-1] if response.text else "{}"
        return (
            "" if json.loads(last).get("word") == "sand" else f"{response.status_code} {response.text[-200:]}"
        )

    def _over_grpc(self, _session: requests.Session, rng: random.Random) -> str:
        values = self._large if rng.random() < 0.1 else np.ones(rng.randrange(1, 100), np.float32)
        found = self._grpc.invoke(values=values, name="gRPC")
        return "" if isinstance(found, dict) and found["count"] == values.size else f"{found}"

    def _oip(self, session: requests.Session, _rng: random.Random) -> str:
        values = {"name": "values", "datatype": "FP32", "shape": [3], "data": [1, 2, 3]}
        name = {"name": "name", "datatype": "BYTES", "shape": [1], "data": ["z"]}
        response = session.post(f"{self._mixed}{MODEL}", json={"inputs": [values, name]}, timeout=TIMEOUT)
        if response.status_code != 200:
            return f"{response.status_code} {response.text}"
        told = json.loads(response.json()["outputs"][0]["data"][0])
        return "" if told == {"hello": "z", "count": 3, "sum": 15.0} else f"{told}"

    def _wrong_value(self, session: requests.Session, rng: random.Random) -> str:
        body = rng.choice(({"values": "none"}, {"values": [[1]]}, {"other": 1}, "text", None))
        response = session.post(self._mixed, json=body, timeout=TIMEOUT)
        return "" if response.status_code == 400 else f"{response.status_code} {response.text}"

    def _malformed(self, _session: requests.Session, rng: random.Random) -> str:
        """A good request with a few bytes changed, added or left out: whatever comes comes in bounded time."""
        raw = bytearray(_raw(b'{"values": [1, 2]}'))
        for _ in range(rng.randint(1, 6)):
            place = rng.randrange(len(raw))
            raw[place : place + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT) as connection:
            try:
                connection.sendall(raw)
                connection.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            except TimeoutError:
                return "no end"
            except OSError:
                return ""
        status = int(answer.split(maxsplit=2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        return "" if not answer or status in ANY else f"{answer[:200]!r}"

    def _cancelled(self, _session: requests.Session, rng: random.Random) -> str:
        """A whole request, the connection gone before the answer, at times with a reset."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT) as connection:
            if rng.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with contextlib.suppress(OSError):
                connection.sendall(_raw(b'{"values": [1, 2]}'))
            self._end.wait(rng.random() * CANCELLED)
        return ""


def _raw(body: bytes) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _compare(response: requests.Response, wanted: dict[str, object]) -> str:
    """Say what is wrong about an answer; "" if it has everything that is wanted."""
    if response.status_code != 200:
        return f"{response.status_code} {response.text}"
    return "" if wanted.items() <= response.json().items() else response.text
