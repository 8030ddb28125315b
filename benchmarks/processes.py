"""Start servers as a user would and see, from outside, what they cost in CPU and memory."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).parent.parent
SHARED = ("/memfd:", "/dev/shm/")
POLL = 0.002
"""Seconds between two tries of a server that starts; it bounds the error of a start time."""


class Served:
    """A server with all of its processes, from exec to the last one's end.

    Usage: `with Served([argv], port=port) as served: served.wait(request, accepts)`.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        *,
        port: int,
        env: Sequence[Mapping[str, str]] = (),
        name: str = "server",
    ) -> None:
        _end_with_exception()
        self.port = port
        self.log = Path(tempfile.gettempdir()) / f"regrain-bench-{name}-{port}.log"
        environments = env or [{}] * len(commands)
        with self.log.open("wb") as log:
            self.started = time.perf_counter()
            self._children = [
                subprocess.Popen(
                    list(command),
                    env={**os.environ, **extra},
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                for command, extra in zip(commands, environments, strict=True)
            ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def front(self) -> int:
        """The process that was started first: for `regrain run`, the front."""
        return self._children[0].pid

    def pids(self) -> list[int]:
        """Return all living processes of the server."""
        return family(child.pid for child in self._children)

    def wait(self, request: Request, accepts: Callable[[bytes], bool], *, timeout: float = 90.0) -> float:
        """Return the seconds from exec to the first accepted answer.

        RuntimeError where it ends or `timeout` seconds pass before; it is stopped then.
        """
        last = "nothing answered"
        while time.perf_counter() - self.started < timeout:
            if all(child.poll() is not None for child in self._children):
                break
            try:
                status, body = request.send(self.port)
            except (OSError, http.client.HTTPException) as error:
                last = repr(error)
            else:
                if status == http.HTTPStatus.OK and accepts(body):
                    return time.perf_counter() - self.started
                last = f"{status} {body[:200]!r}"
            time.sleep(POLL)
        self.stop()
        raise RuntimeError(f"no correct answer: {last}; log: {self.log.read_text(errors='replace')[-2000:]}")

    def check(self) -> None:
        """RuntimeError where it has ended: whoever answered at its port then was another."""
        if all(child.poll() is not None for child in self._children):
            raise RuntimeError(f"it has ended; log: {self.log.read_text(errors='replace')[-2000:]}")

    def end(self, patience: float) -> int:
        """Wait until what was started first, told to end by somebody, has; return its exit code.

        subprocess.TimeoutExpired after `patience` seconds.
        """
        return self._children[0].wait(patience)

    def stop(self, grace: float = 10.0) -> None:
        """Ask all processes to end, then insist after `grace` seconds."""
        rest = self.pids()
        for child in self._children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace
        for child in self._children:
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        for pid in rest:
            _kill(pid)


class Request:
    """What is sent to a server, over a fresh connection by `send` or by a load generator."""

    def __init__(self, body: bytes, *, path: str = "/", headers: Mapping[str, str] | None = None) -> None:
        self.body = body
        self.path = path
        self.headers = {"Content-Type": "application/octet-stream", **(headers or {})}

    def send(self, port: int, *, timeout: float = 20.0) -> tuple[int, bytes]:
        """POST it once and return status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("POST", self.path, self.body, self.headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _end_with_exception() -> None:
    """Have SIGTERM, as `timeout` sends it, end this process as Ctrl-C does: by way of every `with Served(...)`."""

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one would cut this short
        sys.exit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def until(look: Callable[[], T], holds: Callable[[T], bool], patience: float) -> T:
    """Look until what is seen holds, for `patience` seconds at most; return what was seen last."""
    end = time.monotonic() + patience
    while True:
        seen = look()
        if holds(seen) or time.monotonic() > end:
            return seen
        time.sleep(0.05)


def free_ports(count: int, base: int = 18100) -> int:
    """Return the first of `count` neighbouring free ports: a stale server is never measured by mistake."""
    while True:
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            base += count
        else:
            return base


def family(roots: Iterable[int]) -> list[int]:
    """Return these processes, their descendants and everything in their sessions, as far as they live."""
    found = set(roots)
    stats = [(pid, *ids) for pid, ids in _all_processes()]
    grown = True
    while grown:
        more = {pid for pid, parent, session in stats if parent in found or session in found} - found
        grown = bool(more)
        found |= more
    return sorted(pid for pid, _, _ in stats if pid in found)


def children(root: int) -> list[int]:
    """Return the descendants of a process, without a look at all others."""
    found = []
    for task in Path(f"/proc/{root}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="ascii").split()):
            found += [child, *children(child)]
    return found


def parent(pid: int) -> int:
    """Return the parent of a process."""
    return dict(_all_processes())[pid][0]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of these processes, all threads, to the nanosecond; the dead count nothing."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime(
                (~pid << 3) | 2
            )  # the kernel's MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
        except OSError:
            continue
    return total


def memory(pids: Iterable[int]) -> tuple[int, int]:
    """Return (PSS, RSS) in bytes: PSS is the fair sum, RSS counts a shared page once per process."""
    pss = rss = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:
            continue
        for line in lines:
            key, _, rest = line.partition(":")
            pss += int(rest.split()[0]) * 1024 if key == "Pss" else 0
            rss += int(rest.split()[0]) * 1024 if key == "Rss" else 0
    return pss, rss


def descriptors(pids: Iterable[int]) -> int:
    """Return how many descriptors these processes hold."""
    return sum(len(list(_links(pid))) for pid in pids)


def segments(pids: Iterable[int]) -> int:
    """Return how many pieces of shared memory (memfds, files in /dev/shm) these processes hold or map, each once."""
    found: set[int] = set()
    for pid in pids:
        found |= {inode for link, inode in _links(pid) if link.startswith(SHARED)}
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for line in maps.splitlines():
            _, _, _, _, inode, *path = line.split(maxsplit=5)
            if path and path[0].startswith(SHARED):
                found.add(int(inode))
    return len(found)


def _links(pid: int) -> Iterator[tuple[str, int]]:
    """Yield what each descriptor of a process is open on, and its inode."""
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for entry in entries:
        try:
            yield str(entry.readlink()), entry.stat().st_ino
        except OSError:
            continue


def _all_processes() -> list[tuple[int, tuple[int, int]]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (
                    (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                )
            except OSError:
                continue
            if fields[0] != "Z":
                found.append((int(entry.name), (int(fields[1]), int(fields[3]))))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
