"""End a process that uses a GPU: at once, or so that those beside it on the same MPS server come to no harm.

A client of NVIDIA's Multi-Process Service that is killed at work leaves the server and all its other clients in an
undefined state, so the service's control daemon is told first. Speaking to it is the runtime's business, done in a
process of its own: where the daemon hangs, that process does, and the client is killed all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from regrain_watchdog.spawned import DEVNULL, PIPE, spawn

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "regrain_runtime", "terminate")
TIMEOUT = 15.0
"""Seconds that asking the control daemon to terminate a client may take: a client that is killed unannounced may take
the others with it."""

End = Callable[[int, int], None]
"""Ends a process, by its pid and a pidfd of it that the caller keeps."""


def kill(_pid: int, pidfd: int) -> None:
    """End a process at once."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


class Terminator:
    """Has a command terminate a process as a client of its service, then kills it; after `timeout` seconds anyway.

    command: what the process's id is added to. Called on an event loop; the process ends a little later.
    """

    def __init__(self, command: Sequence[str] = COMMAND, *, timeout: float = TIMEOUT) -> None:
        self._command = tuple(command)
        self._timeout = timeout
        self._ending: set[asyncio.Task[None]] = set()

    def __call__(self, pid: int, pidfd: int) -> None:
        """Begin to end a process."""
        task = asyncio.get_running_loop().create_task(self._end(pid, os.dup(pidfd)))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, pid: int, pidfd: int) -> None:
        try:
            if complaint := await self._terminate(pid):
                logger.warning("process %d was not terminated as a client: %s", pid, complaint)
        finally:
            kill(pid, pidfd)
            os.close(pidfd)

    async def _terminate(self, pid: int) -> str:
        """Return why it could not be done; "" if it was."""
        try:
            process = await spawn(*self._command, str(pid), stdout=DEVNULL, stderr=PIPE)
        except OSError as error:
            return str(error)
        try:
            _, said = await asyncio.wait_for(process.communicate(), self._timeout)
        except TimeoutError:
            return f"no answer in {self._timeout:g} s"
        finally:
            await process.end()
        return said.decode(errors="replace").strip() if process.returncode else ""
