"""What a function writes: lines from its processes, and what the gateway has to say of it, into its log."""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime

from regrain_watchdog.gateway.journal import LONGEST, Journal, Line
from regrain_watchdog.gateway.plane.route import Key

READ = 1 << 16


class Log:
    """The log of a function, until it is removed."""

    def __init__(self, key: Key, journal: Journal) -> None:
        self._namespace, self._name = key
        self._journal = journal
        self._removed = False

    def write(self, instance: str, text: str) -> None:
        """Append a line."""
        if self._removed:
            return
        self._journal.write(
            Line(
                name=self._name,
                namespace=self._namespace,
                instance=instance,
                timestamp=datetime.now(UTC),
                text=text,
            )
        )

    def remove(self) -> None:
        """Remove it; what its processes still write goes nowhere."""
        self._removed = True
        self._journal.remove()

    def close(self) -> None:
        """Close its file."""
        self._journal.close()


class Output:
    """Where the processes of one version write.

    Args:
        log: where their lines go.
        instance: what they are told apart by.

    Attributes:
        descriptor: of the end that they inherit.
    """

    def __init__(self, log: Log, instance: str) -> None:
        self._log = log
        self._instance = instance
        self._rest = b""
        self._reading, self.descriptor = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    def say(self, text: str) -> None:
        """Write a line of the gateway's."""
        self._log.write(self._instance, text)

    def close(self) -> None:
        """Take what is left, and let go of both ends."""
        if self._reading < 0:
            return
        os.close(self.descriptor)
        while self._read():
            pass
        self._end()

    def _read(self) -> bool:
        """Take some of what was written; whether there may be more."""
        try:
            data = os.read(self._reading, READ)
        except BlockingIOError:
            return False
        if not data:
            self._end()
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._log.write(self._instance, line.decode(errors="replace").rstrip("\r"))
        return True

    def _end(self) -> None:
        if self._reading < 0:
            return
        asyncio.get_running_loop().remove_reader(self._reading)
        os.close(self._reading)
        self._reading = -1
        if self._rest:
            with contextlib.suppress(ValueError):
                self._log.write(self._instance, self._rest.decode(errors="replace"))
            self._rest = b""
