"""Processes that are started beside threads, and waited for on the event loop.

The loop's own way forks under uvloop, and a fork runs what libraries have registered for one: with gRPC's threads at
work that can end the child before its exec or hang it, and then the loop hangs with it, which waits for the exec.
`subprocess` starts by vfork, which runs none of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter
from collections.abc import Mapping, Sequence
from subprocess import DEVNULL, PIPE
from typing import IO

import uvloop

LIMIT = 1 << 16
"""Bytes of a line at most, and half of what is read ahead."""


class Spawned:
    """A process that was started, on the running loop; `spawn` makes it.

    Attributes:
        pid: its process id.
        stdin, stdout, stderr: its pipes; None for what is no pipe.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self.stdin: StreamWriter | None = None
        self.stdout: StreamReader | None = None
        self.stderr: StreamReader | None = None
        self._process = process
        self._pipes: list[asyncio.BaseTransport] = []
        self._files = [one for one in (process.stdin, process.stdout, process.stderr) if one is not None]
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def returncode(self) -> int | None:
        """Its exit code, the negative of the signal that killed it; None until it has ended and the loop knows."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Return its exit code when it has ended."""
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return what it writes to its pipes until it closes them, when it has ended."""
        told, complaint = await asyncio.gather(_all(self.stdout), _all(self.stderr))
        await self.wait()
        return told, complaint

    async def end(self) -> None:
        """Kill it if it still runs; close its pipes when it has ended, also where somebody else has them open."""
        if not self._ended.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        try:
            await self.wait()
        finally:
            if self.stdin is not None and self.stdin.transport.get_write_buffer_size():
                self.stdin.transport.abort()  # who has it open need never read it
            for pipe in self._pipes:
                pipe.close()
            for file in self._files:
                file.close()

    async def connect(self, limit: int) -> None:
        """Take its pipes to the loop."""
        if self._process.stdin is not None:
            protocol = StreamReaderProtocol(StreamReader())
            end = _End(self._process.stdin)
            pipe, _ = await self._loop.connect_write_pipe(lambda: protocol, end)
            self._pipes.append(pipe)
            self.stdin = StreamWriter(pipe, protocol, None, self._loop)
        if self._process.stdout is not None:
            self.stdout = await self._reader(self._process.stdout, limit)
        if self._process.stderr is not None:
            self.stderr = await self._reader(self._process.stderr, limit)

    async def _reader(self, file: IO[bytes], limit: int) -> StreamReader:
        reader = StreamReader(limit)
        pipe, _ = await self._loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), _End(file))
        self._pipes.append(pipe)
        return reader

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._ended.set_result(self._process.wait())


class _End:
    """Our end of a pipe as a transport takes it over from a file, which has it no more.

    A transport of uvloop's closes the number itself, then this. By then the number may be another thread's, as gRPC's
    do not wait for ours.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._number = os.dup(file.fileno())
        self._is_closed_for_us = isinstance(asyncio.get_running_loop(), uvloop.Loop)
        file.close()

    def fileno(self) -> int:
        return self._number

    def close(self) -> None:
        if not self._is_closed_for_us:
            os.close(self._number)


async def spawn(
    *command: str,
    stdin: int = DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    pass_fds: Sequence[int] = (),
    start_new_session: bool = False,
    limit: int = LIMIT,
) -> Spawned:
    """Start a command as `subprocess.Popen` does; OSError if it cannot be started.

    limit: bytes of a line of its output at most.
    """
    # as whoever started us may have left it: exit codes would be lost
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    started = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        pass_fds=pass_fds,
        start_new_session=start_new_session,
    )
    try:
        process = Spawned(started)
    except OSError:  # there may be no descriptor left to watch it by
        with started:
            started.kill()
        raise
    try:
        await process.connect(limit)
    except BaseException:
        if start_new_session:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await process.end()
        raise
    return process


async def _all(pipe: StreamReader | None) -> bytes:
    return await pipe.read() if pipe is not None else b""


__all__ = ["DEVNULL", "PIPE", "Spawned", "spawn"]
