"""Frames between pods: what goes over the wire between real processes, with and without something in between."""

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from blake3 import blake3

from regrain_watchdog.front.remote import switch, wire

SECRET = "a-secret-of-the-pods"
PATIENCE = 60.0
NONE = wire.Loading(None).sealed(wire.Ask("spread | turn | total", "turn", []))
"""A frame without units."""


def sums(count):
    return [number * 2.0 * 5000 for number in range(count)]


class Between:
    """Stands before a pod and hands on what comes, and keeps it.

    strips: takes the wish to switch out of heads, as a proxy does.
    """

    def __init__(self, port, *, strips=False):
        self.port = port
        self.strips = strips
        self.asked, self.answered = bytearray(), bytearray()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open = [self._listening]
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                caller, _ = self._listening.accept()
                pod = socket.create_connection(("127.0.0.1", self.port))
                self._open += [caller, pod]
                for ends in ((caller, pod, self.asked), (pod, caller, self.answered)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    def _carry(self, source, target, kept):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept += data
                if self.strips:
                    data = data.replace(b"connection: upgrade\r\n", b"").replace(b"upgrade: ", b"x-was: ")
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self):
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def between():
    """Stand before a pod."""
    standing = []

    def begin(pod, **how):
        standing.append(Between(pod.port, **how))
        return standing[-1]

    yield begin
    for one in standing:
        one.close()


@pytest.fixture
def two(serve, key, between):
    """A pod that has another one run the last two stages, that one, and what is between them."""

    def start(**how):
        other = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key))
        line = between(other, **how)
        remote = f"turn={line.url},total={line.url}"
        pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--remote", remote)
        return pod, other, line

    return start


def test_frames_go_between_pods_without_heads(two, until):
    pod, other, line = two()

    def asked_without_heads():
        before = line.asked.count(b"POST ")
        for count in (1, 9, 3):
            assert pod.call(count=count).json() == {"sums": sums(count), "front": other.zygote()}
        return line.asked.count(b"POST ") == before

    until(asked_without_heads, "connections go on in frames")
    assert line.answered.count(b"HTTP/1.1 101 ") >= 1


def test_pods_understand_each_other_where_a_proxy_does_not_switch(two):
    pod, other, line = two(strips=True)

    for count in (1, 9, 3):
        assert pod.call(count=count).json() == {"sums": sums(count), "front": other.zygote()}

    assert line.answered.count(b"HTTP/1.1 101 ") == 0
    assert line.asked.count(b"POST ") >= 6


@pytest.mark.parametrize(("remote", "status"), [("turn", 200), ("turn+total", 500)])
def test_units_that_fill_more_than_a_frame_go_one_by_one(serve, key, tmp_path, remote, status):
    """A frame has 4 MiB here, an item 40 kB; the last stage takes all of them as one unit."""
    app = tmp_path / "relay.py"
    text = (Path(__file__).parent / "apps" / "relay.py").read_text()
    app.write_text(text.replace("max_size=4", "max_size=128"))
    flags = ["--grain", "fine", "--remote-key-file", str(key)]
    other = serve(app, *flags)
    pod = serve(app, *flags, "--remote", f"{remote}={other.url}", "--memory", "16Mi")

    told = pod.call(count=110)

    assert told.status_code == status, told.text
    if status == 200:
        assert told.json() == {"sums": sums(110), "front": pod.zygote()}
    else:
        assert "what total takes is 44" in told.json()["detail"]
    assert pod.call(count=20).json()["sums"] == sums(20)


@pytest.mark.parametrize(("idempotent", "status"), [(True, 200), (False, 500)])
def test_what_units_give_that_fills_more_than_a_frame_comes_one_by_one(
    serve, key, tmp_path, idempotent, status
):
    """What may not run twice is not asked for again."""
    app = tmp_path / "relay.py"
    text = (Path(__file__).parent / "apps" / "relay.py").read_text()
    for old, new in (
        ("-> list[np.ndarray]:\n    return [np.full", "-> list[int]:\n    return [np.full"),
        ("[np.full(5000, float(number)) for number in range(count)]", "list(range(count))"),
        ("max_size=4", f"max_size=128, idempotent={idempotent}"),
        ("items: list[np.ndarray]) -> list[np.ndarray]", "items: list[int]) -> list[np.ndarray]"),
        ("item[::-1] * 2", "np.full(5000, item * 2.0)"),
    ):
        assert old in text
        text = text.replace(old, new)
    app.write_text(text)
    flags = ["--grain", "fine", "--remote-key-file", str(key)]
    other = serve(app, *flags)
    pod = serve(app, *flags, "--remote", f"turn={other.url}", "--memory", "16Mi")

    told = pod.call(count=110)

    assert told.status_code == status, told.text
    if status == 200:
        assert told.json() == {"sums": sums(110), "front": pod.zygote()}
    else:
        assert "what turn gives is over 4194304 bytes" in told.json()["detail"]
    assert pod.call(count=20).json()["sums"] == sums(20)


def test_a_pod_whose_answer_fills_more_than_a_frame_is_as_good_as_before(serve, key):
    """Nothing has died: the request alone has failed, whose stage gives so much."""
    flags = ["--grain", "fine", "--remote-key-file", str(key)]
    other = serve("relay.py", *flags)
    pod = serve("relay.py", *flags, "--remote", f"spread={other.url}", "--memory", "16Mi")

    told = [pod.call(count=110) for _ in range(3)]

    assert [one.status_code for one in told] == [500] * 3, [one.text for one in told]
    assert all("what spread gives is over 4194304 bytes" in one.json()["detail"] for one in told)
    assert pod.call(count=20).json()["sums"] == sums(20)
    assert pod.metric("regrain_poison_total") == 0.0
    assert all(peer["answers"] for group in pod.status()["groups"] for peer in group["pods"])


class Channel:
    """A switched connection to a pod."""

    def __init__(self, pod, key):
        secret, asked = key.read_text(), switch.nonce()
        version = requests.get(f"{pod.admin_url}/manifest", timeout=PATIENCE).json()["digest"]
        fields = {
            "host": "pod",
            "connection": "upgrade",
            "upgrade": switch.PROTOCOL,
            switch.NONCE: asked,
            wire.VERSION: version,
            wire.EPOCH: 0,
            wire.SIGNATURE: wire.signature(secret, "GET", wire.PREFIX, version=version, epoch=0),
        }
        lines = [f"GET {wire.PREFIX} HTTP/1.1", *(f"{name}: {text}" for name, text in fields.items()), "", ""]
        self.socket = socket.create_connection(("127.0.0.1", pod.port), PATIENCE)
        self.socket.sendall("\r\n".join(lines).encode())
        self.file = self.socket.makefile("rb")
        head = list(iter(self.file.readline, b"\r\n"))
        assert head[0].startswith(b"HTTP/1.1 101 "), head
        (answered,) = [line.split()[1] for line in head if line.startswith(switch.NONCE.encode())]
        self.key = switch.key(secret, version, asked, answered.decode())
        self.number = 0
        self.send(b"")

    def send(self, frame):
        rest = switch.HEAD.pack(self.number, 0, len(frame)) + frame
        self.number += 1
        self.socket.sendall(blake3(rest, key=self.key).digest() + rest)

    def ask(self, frame):
        self.send(frame)
        nbytes, status, keeps = switch.ANSWER.unpack(self.file.read(switch.ANSWER.size))
        return status, bool(keeps), self.file.read(nbytes)

    def close(self):
        self.file.close()
        self.socket.close()


def test_a_pod_with_an_idle_connection_of_another_one_ends_at_once(serve, key):
    pod = serve("relay.py", "--grain", "fine", "--remote-key-file", str(key), "--drain-timeout", "600s")
    with contextlib.closing(Channel(pod, key)) as channel:
        status, keeps, answer = channel.ask(NONE)
        assert (status, keeps) == (200, True)
        assert wire.opened(answer, wire.Told)[0] == wire.Told([], [])

        assert pod.stop() == 0, pod.output

        assert channel.file.read() == b""


@pytest.fixture
def held(tmp_path, until):
    """Ask a pod for what another one runs, whose last stage stands until it is let go: the call, and how to let go."""
    gate = Path(tmp_path, "gate")
    gate.mkdir()
    shut = gate / "shut"
    shut.touch()
    with ThreadPoolExecutor(1) as pool:

        def ask(pod):
            call = pool.submit(pod.call, count=3, gate=str(gate))
            until(lambda: len(list(gate.iterdir())) > 1, "the last stage runs")
            return call, shut.unlink

        yield ask
        shut.unlink(missing_ok=True)


def test_what_a_pod_runs_for_another_one_is_answered_when_it_drains(two, held):
    pod, other, _ = two()
    zygote = other.zygote()

    call, let_go = held(pod)
    other.signal()
    other.said("draining")
    let_go()
    answer = call.result()

    assert answer.status_code == 200, answer.text
    assert answer.json() == {"sums": sums(3), "front": zygote}
    assert other.ended() == 0, other.output


def test_a_pod_whose_caller_is_killed_while_it_runs_a_frame_serves_on(two, held):
    pod, other, _ = two()
    zygote = other.zygote()

    call, let_go = held(pod)
    pod.process.kill()
    with pytest.raises(requests.ConnectionError):
        call.result()
    let_go()

    assert other.call(count=3).json() == {"sums": sums(3), "front": zygote}
    assert other.stop() == 0, other.output
