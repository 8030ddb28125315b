"""What a function writes: lines from its processes, and what the gateway has to say of it, into its log."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from datetime import UTC, datetime

from regrain_watchdog.gateway.journal import LONGEST, Journal, Line
from regrain_watchdog.gateway.plane.route import Key

READ = 1 << 12
"""Bytes that are taken in a turn of the loop: that many lines at most, which are a few milliseconds' work."""


class Log:
    """The log of a function, until it is removed."""

    def __init__(self, key: Key, journal: Journal) -> None:
        self._namespace, self._name = key
        self._journal = journal
        self._removed = False

    def write(self, instance: str, *texts: str) -> None:
        """Append lines."""
        if self._removed or not texts:
            return
        now = datetime.now(UTC)
        self._journal.write(
            *(
                Line(name=self._name, namespace=self._namespace, instance=instance, timestamp=now, text=text)
                for text in texts
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
    """

    def __init__(self, log: Log, instance: str) -> None:
        self._log = log
        self._instance = instance
        self._rest = b""
        self._reading, self._writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        asyncio.get_running_loop().add_reader(self._reading, self._read)

    @property
    def descriptor(self) -> int:
        """The end that they inherit. ValueError once it is closed, as its number may be another file's by then."""
        if self._writing < 0:
            raise ValueError("nothing is written here any more")
        return self._writing

    def say(self, text: str) -> None:
        """Write a line of the gateway's."""
        self._log.write(self._instance, text)

    def close(self) -> None:
        """Take what is left, and let go of both ends; somebody who still writes is not waited for."""
        if self._writing < 0:
            return
        os.close(self._writing)
        self._writing = -1
        left = fcntl.fcntl(self._reading, fcntl.F_GETPIPE_SZ)
        while left > 0 and (taken := self._read()):
            left -= taken
        self._end()

    def _read(self) -> int:
        """Take some of what was written; return how many bytes, 0 where nothing is there."""
        try:
            data = os.read(self._reading, READ)
        except BlockingIOError:
            return 0
        if not data:
            self._end()
            return 0
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            lines.append(self._rest)
            self._rest = b""
        texts = (line.decode(errors="replace").rstrip("\r") for line in lines)
        self._log.write(self._instance, *texts)
        return len(data)

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
