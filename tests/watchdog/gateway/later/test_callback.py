"""A result is sent to where its caller wants it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from regrain_watchdog.front.upstream.client import UpstreamError
from regrain_watchdog.gateway.later import callback
from regrain_watchdog.gateway.later.call import Result


class Receiver:
    """Takes what is posted, and answers with this status and body."""

    def __init__(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                named = {name.lower(): text for name, text in self.headers.items()}
                assert len(named) == len(self.headers)
                receiver.taken.append((self.path, named, content))
                self.send_response(status)
                for name, text in headers.items():
                    self.send_header(name, text)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # nobody reads it
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Receiver:
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def post(call, result: Result) -> int:
    return asyncio.run(callback.post(call, result))


def test_the_result_is_sent_with_what_it_is_of(make):
    headers = [
        ("content-type", "text/plain"),
        ("x-mine", "caf\u00e9"),
        ("content-length", "99"),
        ("transfer-encoding", "chunked"),
        ("x-call-id", "another"),
    ]
    with Receiver(202) as receiver:
        status = post(
            make(callback=f"{receiver.url}/a?b=c"),
            Result(status=404, headers=headers, body=b"hello" * 10**5, seconds=1.5),
        )

    ((path, found, body),) = receiver.taken
    assert (status, path, body) == (202, "/a?b=c", b"hello" * 10**5)
    assert found == {
        "host": receiver.url.removeprefix("http://"),
        "connection": "close",
        "content-type": "text/plain",
        "x-mine": "caf\u00c3\u00a9",
        "x-call-id": "one",
        "x-duration-seconds": "1.500000",
        "x-function-status": "404",
        "x-function-name": "hello",
        "content-length": "500000",
    }


def test_the_functions_own_duration_is_told(make):
    with Receiver() as receiver:
        post(make(callback=receiver.url), Result(status=200, headers=[("x-duration-seconds", "0.25")]))

    ((path, found, _),) = receiver.taken
    assert (path, found["x-duration-seconds"]) == ("/", "0.25")


def test_a_call_without_an_answer_is_told_as_503_with_nothing(make):
    with Receiver() as receiver:
        post(make(callback=receiver.url), Result(status=0))

    ((_, found, body),) = receiver.taken
    assert (found["x-function-status"], body) == ("503", b"")


def test_no_redirect_is_followed_and_no_body_is_read(make):
    with Receiver() as other, Receiver(307, b"a" * 10**7, location=other.url) as receiver:
        assert post(make(callback=receiver.url), Result(status=200)) == 307

    assert (len(receiver.taken), other.taken) == (1, [])


@pytest.mark.parametrize(
    ("name", "text"), [("x-mine", "a\r\nx-call-id: b"), ("x-mine", "a\n"), ("x mine", "a"), ("x-\u0142", "a")]
)
def test_a_header_that_would_be_another_line_is_not_sent(make, name, text):
    with Receiver() as receiver, pytest.raises(ValueError, match="cannot be sent"):
        post(make(callback=receiver.url), Result(status=200, headers=[(name, text)]))

    assert receiver.taken == []


def test_https_goes_to_nobody_whose_certificate_is_not_trusted(make, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl)")
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    made = ["openssl", "req", "-x509", *curve, *names, "-keyout", key, "-out", cert]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    receiver = Receiver()
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    with receiver:
        url = receiver.url.replace("http", "https")
        with pytest.raises(ssl.SSLCertVerificationError):
            post(make(callback=url), Result(status=200))

    assert receiver.taken == []


def test_nobody_there_is_an_error(make, free_ports):
    with pytest.raises(OSError, match=r"[Rr]efused|Connect"):
        post(make(callback=f"http://127.0.0.1:{free_ports[0]}"), Result(status=200))


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n"])
def test_what_is_no_answer_is_an_error(make, answer):
    async def run():
        async def garbage(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(garbage, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await callback.post(make(callback=f"http://127.0.0.1:{port}"), Result(status=200))

    with pytest.raises(UpstreamError):
        asyncio.run(run())


def test_one_that_does_not_answer_is_given_up(make, monkeypatch):
    monkeypatch.setattr(callback, "TIMEOUT", 0.05)

    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError):
        post(make(callback=f"http://127.0.0.1:{silent.getsockname()[1]}"), Result(status=200))
