"""Pods whose release of Regrain signs otherwise: a rolling update of Regrain itself, the app's code staying."""

import hashlib
import hmac
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from regrain_watchdog.front.remote import wire

SECRET = "a-secret-of-the-pods"
STAGES = {"spread", "turn", "total"}
PATIENCE = 60.0


def sums(count):
    return [number * 2.0 * 5000 for number in range(count)]


def former(method, path, version, epoch, body):
    """The signature that pods had before BLAKE3."""
    made = hmac.new(SECRET.encode(), digestmod=hashlib.sha256)
    for part in (*(text.encode() for text in (method, path, version, epoch)), body):
        made.update(struct.pack("<I", len(part)) + part)
    return made.hexdigest()


class Former(BaseHTTPRequestHandler):
    """A pod that knows the former signature alone."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def _answer(self):
        type(self).asked += 1
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        parts = (self.headers.get(name, "") for name in (wire.VERSION, wire.EPOCH))
        is_right = former(self.command, self.path, *parts, body) == self.headers.get(wire.SIGNATURE)
        told = b"" if is_right else b'{"detail": "the signature is missing or wrong"}'
        self.send_response(200 if is_right else 401)
        self.send_header("content-length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = _answer  # noqa: N815 - the standard library's names

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def begin_former():
    """Begin a pod of the release before at a port; 0 is any."""
    begun = []

    def begin(port=0):
        server = ThreadingHTTPServer(("127.0.0.1", port), type("Own", (Former,), {}))
        threading.Thread(target=server.serve_forever).start()
        begun.append(server)
        return server

    yield begin
    for server in begun:
        server.shutdown()
        server.server_close()


def staffed(pod):
    return {group["name"] for group in pod.status()["groups"] if group["replicas"]}


def test_what_is_signed_as_before_is_refused(serve, key):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))
    version = requests.get(f"{pod.admin_url}/manifest", timeout=PATIENCE).json()["digest"]

    for method, path, body in (("GET", wire.PREFIX, b""), ("POST", f"{wire.PREFIX}/turn", b"frame")):
        signed = former(method, path, version, "0", body)
        headers = {wire.VERSION: version, wire.EPOCH: "0", wire.SIGNATURE: signed}
        told = requests.request(method, f"{pod.url}{path}", data=body, headers=headers, timeout=PATIENCE)
        assert told.status_code == 401
        assert "signature" in told.json()["detail"]


def test_what_a_pod_of_the_former_release_refuses_is_run_here_and_the_log_says_why(serve, key, begin_former):
    other = begin_former()
    remote = f"turn=http://127.0.0.1:{other.server_port}"

    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)

    assert staffed(pod) == STAGES
    assert [pod.call(count=3).json()["sums"] for _ in range(5)] == [sums(3)] * 5
    assert other.RequestHandlerClass.asked
    pod.said("does not answer: 401 .*the signature is missing or wrong")


@pytest.fixture
def two(serve, attempt, key, free_ports):
    """A pod, and the other one that it sends a group to."""
    flags = ["--grain", "fine", "--remote-key-file", str(key)]
    other = attempt("relay.py", *flags, "--port", str(free_ports[0])).ready()
    return serve("relay.py", *flags, "--remote", f"turn={other.url}"), other


def test_no_request_is_lost_where_a_pod_gives_way_to_one_of_the_former_release(two, until, begin_former):
    pod, other = two
    ended = threading.Event()
    wrong, right = [], []

    def ask():
        while not ended.is_set():
            told = pod.call(count=3)
            (right if (told.status_code, told.json().get("sums")) == (200, sums(3)) else wrong).append(told)

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            until(lambda: len(right) > 20 or wrong, "it serves")
            assert other.stop() == 0, other.output
            former = begin_former(other.port)
            until(lambda: former.RequestHandlerClass.asked, "it is asked")
            until(lambda: staffed(pod) == STAGES, "the group runs here")
            enough = len(right) + 20
            until(lambda: len(right) > enough or wrong, "it serves on")
        finally:
            ended.set()
    for one in asking:
        one.result()

    assert [told.text for told in wrong] == []
    pod.said("does not answer: 401 .*the signature is missing or wrong")
