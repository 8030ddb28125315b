"""The controller's process as the front sees it: started, told once a second what happens, listened to, replaced.

Serving does not depend on it. The front never waits for it: a report that it does not take is dropped. When it ends, or
has said nothing for too long, the plan in force stays, and another one is started after a while.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable

from regrain_watchdog.front.adapting.tally import Counts
from regrain_watchdog.front.adapting.words import Brief, Pieces, Report, Word, WordError, decode_word, encode
from regrain_watchdog.front.signals import held_back

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two reports."""
PATIENCE, BIRTH = 60.0, 240.0
"""Seconds that it may take to answer a report, and its brief: predictors are compiled then."""
BACKOFF, LONGEST = 1.0, 60.0
"""Seconds until it is started again, doubled each time, and at most."""
SOUND = 300.0
"""Seconds after which one that ends counts as the first that does."""
RECEIVE = 1 << 16
QUEUED = 1 << 20
"""Bytes that wait for it at most; reports beyond them are dropped."""


class Mind:
    """Keeps a controller's process.

    brief: makes its first message. report: makes the next one. heard: told each word of its that says something.

    Attributes:
        trouble: why the last one ended, until another one has decided something; else "".
    """

    def __init__(
        self, *, brief: Callable[[], Brief], report: Callable[[], Report], heard: Callable[[Word], None]
    ) -> None:
        self.counts = Counts()
        self._brief = brief
        self._report = report
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._pieces = Pieces()
        self._outbox = bytearray()
        self._owed = 0
        self._heard_at = self._born = 0.0
        self._backoff = BACKOFF
        self._timer: asyncio.TimerHandle | None = None
        self._is_stopping = self._is_resting = False
        self.trouble = self._said = ""

    @property
    def pid(self) -> int:
        """Its process; 0 where there is none at the moment."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it."""
        self._heard_at = self._born = time.monotonic()
        try:
            self._sock = self._spawn()
        except OSError as error:  # no memory, or no descriptors, at the moment
            self._end(f"it cannot be started: {error}")
            return
        self._pieces = Pieces()
        self._outbox = bytearray(encode(self._brief()))
        self._owed = 1
        self._loop.add_reader(self._sock.fileno(), self._readable)
        self._flush()
        self._timer = self._loop.call_later(TICK, self._tick)

    def _spawn(self) -> socket.socket:
        """Start its process; return our end of the socket to it."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs, held_back():
                command = [sys.executable, "-m", "regrain_watchdog.control", "--fd", str(theirs.fileno())]
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
                )
        except OSError:
            ours.close()
            raise
        return ours

    def renew(self) -> None:
        """Start another one, which is told anew what it decides for; not where none was started yet."""
        if self._is_stopping or (self._process is None and not self._is_resting):
            return
        self._dismiss()
        self._is_resting = False
        self.start()

    def rest(self) -> None:
        """End it, and start none until it is renewed."""
        self._is_resting = True
        self._dismiss()
        self.trouble = ""

    async def stop(self) -> None:
        """End it."""
        self._is_stopping = True
        process = self._process
        self._let_go()
        if process is not None:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _tick(self) -> None:
        """Report; replace it where it has owed an answer for too long."""
        now = time.monotonic()
        patience = BIRTH if self._heard_at == self._born else PATIENCE
        if self._owed and now - self._heard_at > patience:
            self._end(f"it has said nothing for {now - self._heard_at:.0f} s")
            return
        self._timer = self._loop.call_later(TICK, self._tick)
        if self._outbox or self._owed > 1:
            self.counts.dropped += 1
            return
        if not self._owed:
            self._heard_at = now
        self._outbox += encode(self._report())
        self._owed += 1
        self._flush()

    def _flush(self) -> None:
        """Write as much as the socket takes; the rest goes with the next tick."""
        try:
            while self._sock is not None and self._outbox:
                del self._outbox[: self._sock.send(self._outbox)]
        except (BlockingIOError, InterruptedError):
            self._loop.add_writer(self._sock.fileno(), self._writable)  # type: ignore[union-attr]  # it was sent on
        except OSError as error:
            self._end(str(error))

    def _writable(self) -> None:
        if self._sock is not None:
            self._loop.remove_writer(self._sock.fileno())
        self._flush()

    def _readable(self) -> None:
        if self._sock is None:
            return
        try:
            chunk = self._sock.recv(RECEIVE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(str(error))
            return
        if not chunk:
            self._end("it ended")
            return
        try:
            for body in self._pieces.feed(chunk):
                self._owed = max(0, self._owed - 1)
                self._heard_at = time.monotonic()
                self.counts.lives = True
                self._take(decode_word(body))
        except WordError as error:
            self._end(f"what it said is no message: {error}")

    def _take(self, word: Word) -> None:
        """Hand on what it said; its last word is for nobody else."""
        if word.end:
            self._end(word.end)
            return
        if word.decision:
            self.trouble = ""
        self._heard(word)

    def _end(self, reason: str) -> None:
        """It is of no use any more: the plan stays, and another one is started after a while."""
        lived = time.monotonic() - self._born
        self._dismiss()
        self.counts.ends += 1
        if self._is_stopping:
            return
        if lived > SOUND:
            self._backoff = BACKOFF
        is_said = reason == self._said and self._backoff > BACKOFF
        say = logger.debug if is_said else logger.warning
        say("the controller is started again in %g s, the plan stays meanwhile: %s", self._backoff, reason)
        self._said = self.trouble = reason
        self._timer = self._loop.call_later(self._backoff, self.start)
        self._backoff = min(2 * self._backoff, LONGEST)

    def _dismiss(self) -> None:
        """Let go of it, and see to it that it ends."""
        process = self._process
        self._let_go()
        if process is not None:
            process.kill()
            self._loop.run_in_executor(None, process.wait)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._loop.remove_writer(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._process = None
        self.counts.lives = False
