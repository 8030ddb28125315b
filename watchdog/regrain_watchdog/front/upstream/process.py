"""The upstream's process: started, watched, started again when it ends, and stopped after the last request.

It leads a process group of its own. So a Ctrl-C or a SIGTERM to our group does not reach it before the front has
drained, and what it leaves behind when it dies is ended with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from regrain.errors import SpecError
from regrain_watchdog.policy import restart
from regrain_watchdog.spawned import Spawned, spawn

logger = logging.getLogger(__name__)

STOP_TIMEOUT = 10.0
"""Seconds that a process has to end after SIGTERM if it serves nothing any more by then."""
LEASH = ("setpriv", "--pdeathsig", "TERM")
"""util-linux' way to have the kernel end a process whose parent was killed; setpriv replaces itself with it."""


class Process:
    """A command that is kept running.

    Args:
        command: program and arguments; SpecError if there is no such program.
        environment: its variables.
        changed: called when it has started and when it has ended.
        descriptors: file descriptors that it inherits.
        output: the descriptor that it writes to; None for ours.
        name: what the log calls it; its program if not given.
        patience: seconds that it has to end after SIGTERM.

    Attributes:
        ended: how it last ended, in words; "" while it runs.
        births: how often it was started.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        changed: Callable[[], None],
        descriptors: Sequence[int] = (),
        output: int | None = None,
        name: str = "",
        patience: float = STOP_TIMEOUT,
    ) -> None:
        if not command or shutil.which(command[0], path=environment.get("PATH")) is None:
            named = command[0] if command else ""
            raise SpecError(f"REGRAIN_FPROCESS (--fprocess): there is no program {named!r}")
        self.ended = ""
        self.births = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._changed = changed
        self._descriptors = tuple(descriptors)
        self._output = output
        self._name = name or command[0]
        self._patience = patience
        self._process: Spawned | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Its process id; 0 while it does not run."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> None:
        """Start it, and keep it running from here on."""
        await self._start()
        self._keeping = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL after as many seconds as it has."""
        await self._forget()
        process = self._process
        if process is None:
            return
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), self._patience)
        except TimeoutError:
            logger.warning("%s did not end within %g s of SIGTERM: killed", self._name, self._patience)
        await self._end(process)

    async def kill(self, patience: float = 0.0) -> None:
        """End it at once; where it has patience, tell it once more by SIGTERM, and kill it after so many seconds."""
        await self._forget()
        process = self._process
        if process is None:
            return
        if patience:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), patience)
        await self._end(process)

    def strike(self) -> None:
        """Kill it at once and wait for nothing, as the loop may end now."""
        if self._keeping is not None:
            self._keeping.cancel()
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)

    async def _end(self, process: Spawned) -> None:
        _signal(process, signal.SIGKILL)  # its children too, which may outlive it
        await process.wait()
        self._process = None

    async def _forget(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def _start(self) -> None:
        leash = LEASH if shutil.which(LEASH[0]) else ()
        self._process = await spawn(
            *leash,
            *self._command,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
            pass_fds=self._descriptors,
            start_new_session=True,
        )
        self.births += 1
        self.ended = ""
        self._changed()

    async def _keep(self) -> None:
        deaths = 0
        while self._process is not None:
            born = time.monotonic()
            code = await self._process.wait()
            _signal(self._process, signal.SIGKILL)
            self._process = None
            self.ended = f"exit code {code}" if code >= 0 else f"killed by signal {-code}"
            deaths = restart.deaths_in_a_row(deaths, time.monotonic() - born)
            wait = restart.delay(deaths)
            logger.warning("%s ended (%s); starting it again in %g s", self._name, self.ended, wait)
            self._changed()
            await asyncio.sleep(wait)
            while not await self._restart():
                await asyncio.sleep(restart.LONGEST)

    async def _restart(self) -> bool:
        """Start it again; whether it could be started at all, as its program may have gone by now."""
        try:
            await self._start()
        except OSError as error:
            logger.error("%s cannot be started: %s", self._name, error.strerror)
            return False
        return True


def _signal(process: Spawned, number: signal.Signals) -> None:
    """Signal the whole group; nobody is left in it where it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
