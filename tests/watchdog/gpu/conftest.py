"""An arbiter moved by hand; and one with its clients as processes of their own, moved by words on standard input."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regrain.wire.lease import Ask, Granted, Refused, Share, Status
from regrain_watchdog.gpu import operate
from regrain_watchdog.gpu.arbiter import Arbiter, Tell
from regrain_watchdog.gpu.limits import Device, Limits

WAIT = 60.0
"""Seconds after which a test gives up on a process."""

ARBITER = """
import asyncio, json, logging, sys
from pathlib import Path
from regrain.wire.lease import LeaseError
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.server import Server

class File:
    def __init__(self, path):
        self.path = path
    def used(self):
        return {int(pid): nbytes for pid, nbytes in json.loads(self.path.read_text()).items()}

async def main(path, limits, observer):
    seen = File(Path(observer)) if observer else None
    server = Server(Path(path), Device(sms=100, memory=1000), limits=Limits(**json.loads(limits)), observer=seen)
    try:
        server.start()
    except LeaseError as error:
        sys.exit(f"error: {error}")
    print("serving", server.arbiter.epoch, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.stop()

logging.basicConfig()
asyncio.run(main(*sys.argv[1:]), debug=False)
"""

WORKER = """
import contextlib, json, os, signal, sys, time
from regrain.wire.lease import LeaseError, Share
from regrain_runtime.gpu.client import Client

signal.signal(signal.SIGINT, signal.default_int_handler)  # children of background jobs ignore it
path, name, share = sys.argv[1:]
gpu = Client(path, name, Share(**json.loads(share)))
stack = contextlib.ExitStack()
lease = None
for line in sys.stdin:
    word, *numbers = line.split()
    numbers = [float(number) for number in numbers]
    try:
        match word:
            case "lease":
                lease = stack.enter_context(gpu.lease(numbers[0], seconds=numbers[1], timeout=numbers[2]))
                said = ["granted", *lease.token, lease.sms]
            case "turn":
                with gpu.lease(numbers[0], seconds=numbers[1], timeout=numbers[2]) as lease:
                    time.sleep(numbers[1])
                said = ["had", lease.sms]
            case "renew":
                lease.renew(timeout=numbers[0])
                said = ["granted", *lease.token, lease.sms]
            case "release":
                stack.close()
                said = ["released"]
            case "go_on":
                said = [lease.go_on()]
            case "adjust":
                gpu.adjust(Share(ceiling=numbers[0], floor=numbers[1]))
                said = ["adjusted"]
            case "become":
                gpu.become("other", Share(memory=int(numbers[0])))
                said = ["became"]
            case "close":
                gpu.close()
                said = ["closed"]
            case "fork":
                child = os.fork()
                if not child:
                    signal.pause()
                said = ["forked", child]
            case "fork_and_lease":
                child = os.fork()
                if not child:
                    with gpu.lease(*numbers[:1], seconds=0.1) as theirs:
                        print("granted", *theirs.token, theirs.sms, flush=True)
                    os._exit(0)
                continue
    except (LeaseError, KeyboardInterrupt) as error:
        said = [type(error).__name__, error]
    print(*said, flush=True)
"""

NOISE = """
import random, socket, sys
from regrain.wire import lease as wire
from regrain.wire.lease import Share

path, seed = sys.argv[1:]
rng = random.Random(int(seed))
number = lambda: rng.choice([0, 1, 1, 2, 3, 5, 2**63, -1])
real = lambda: rng.choice([0.0, 0.001, 0.01, 0.1, 0.5, 1.0, -1.0, 1e300, float("nan")])
share = lambda: Share(floor=rng.choice([0.0, 0.1]), weight=rng.choice([0.1, 9.0]), memory=rng.choice([0, 9, 2**63]))
ask = lambda: wire.Ask(number(), real(), real(), number(), real())
makers = [
    lambda: wire.Register(rng.choice(["", "noise", "x" * 200]), share(), number(), number()),
    ask,
    lambda: wire.Ask(rng.randrange(9), 0.1, 0.1),
    lambda: wire.Renew(number(), number(), ask()),
    lambda: wire.Release(number(), number()),
    lambda: wire.Withdraw(number()),
    lambda: wire.Adjust(number(), share()),
    wire.Leave,
    wire.Look,
    lambda: wire.Recall(number()),
]
for _ in range(40):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(0.1)
        sock.connect(path)
        sock.send(wire.encode(wire.Register("noise", Share())))
        try:
            for _ in range(rng.randrange(60)):
                packet = wire.encode(rng.choice(makers)())
                if rng.random() < 0.01:
                    packet = rng.randbytes(rng.randrange(1, 40))
                sock.send(packet)
                if rng.random() < 0.2:
                    sock.recv(wire.ROOM)
        except OSError:
            pass
print("done", flush=True)
sys.stdin.read()
"""


class ByHand(Arbiter):
    """An arbiter with a way of saying things shortly."""

    def join(self, name: str = "a", *, now: float = 0.0, pid: int = 0, **share: float) -> int:
        return self.register(name, Share(**share), pid=pid or 1000 + ord(name[0]), now=now)

    def wants(self, client: int, share: float, *, now: float = 0.0, number: int = 1, **more: float) -> None:
        self.ask(client, Ask(number, share, more.pop("seconds", 1.0), **more), now)

    def granted(self, now: float = 0.0) -> list[tuple[int, int]]:
        """Schedule; return who was granted a lease, and its number."""
        return [
            (told.client, told.frame.lease)
            for told in self.schedule(now)
            if isinstance(told, Tell) and isinstance(told.frame, Granted)
        ]

    def refused(self, now: float) -> list[Refused]:
        return [told.frame for told in self.schedule(now) if isinstance(told.frame, Refused)]


@pytest.fixture
def by_hand() -> Callable[..., ByHand]:
    """Make an arbiter of epoch 7 for a device of 100 SMs and 1000 bytes, with limits that are easy to reckon with."""

    def make(*, epoch: int = 7, opens: float = 0.0, **limits: float) -> ByHand:
        easy = {"longest": 10.0, "grace": 0.5, "hang": 2.0, "reserve_after": 1.0, "patience": 5.0, **limits}
        return ByHand(Device(sms=100, memory=1000), epoch=epoch, limits=Limits(**easy), opens=opens)

    return make


@pytest.fixture
def arbiter(by_hand: Callable[..., ByHand]) -> ByHand:
    return by_hand()


class Process:
    """A process that says lines; each is waited for, and none for ever."""

    def __init__(self, program: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._buffer = b""

    def tell(self, *words: object) -> None:
        self._process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self._process.stdin.flush()

    def hear(self, within: float = WAIT) -> str:
        """The next line; TimeoutError if none comes."""
        until = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise TimeoutError(self._buffer)
                chunk = os.read(self._process.stdout.fileno(), 4096)
                assert chunk, self.end()
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def do(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def end(self) -> str:
        """Let it end by itself; return what it said as errors."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(WAIT)
        return self._process.stderr.read().decode()

    def wait(self) -> int:
        return self._process.wait(WAIT)

    def destroy(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait(WAIT)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


class Node:
    """A device's arbiter and those that share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "gpu.sock"
        self.seen = folder / "seen.json"
        self.processes: list[Process] = []

    def arbiter(self, *, observed: bool = False, **limits: float) -> Process:
        """Start an arbiter and wait until it serves; unless told otherwise it ends no holder that is slow."""
        limits = {"hang": 60.0, **limits}
        process = self.start(ARBITER, json.dumps(limits), str(self.seen) if observed else "")
        assert process.hear().startswith("serving")
        return process

    def refused_arbiter(self) -> str:
        """Start an arbiter that cannot serve; what it says."""
        return self.start(ARBITER, "{}", "").end()

    def worker(self, name: str, **share: float) -> Process:
        return self.start(WORKER, name, json.dumps(share))

    def noise(self, seed: int) -> Process:
        """Send an arbiter frames of every kind with fields of every kind, and wait until they are sent."""
        process = self.start(NOISE, str(seed))
        assert process.hear() == "done"
        return process

    def start(self, program: str, *words: str) -> Process:
        process = Process(program, str(self.path), *words)
        self.processes.append(process)
        return process

    def shows(self, used: str) -> None:
        """From here on the device shows this memory of processes, which an arbiter may read at any moment."""
        new = self.seen.with_suffix(".new")
        new.write_text(used)
        new.rename(self.seen)

    def status(self) -> Status:
        return operate.look(self.path)

    def until(self, claim: Callable[[Status], bool]) -> Status:
        """Look until something is so; the status then."""
        until = time.monotonic() + WAIT
        while not claim(status := self.status()):
            assert time.monotonic() < until, status
        return status


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(operate, "PATIENCE", WAIT)
    node = Node(tmp_path)
    yield node
    for process in node.processes:
        process.destroy()
