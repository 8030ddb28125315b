"""Start replicas, watch them, and end them: the only place where processes of the user's code begin and end.

Which of them serves what is up to the crew (crew.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass

from regrain.leavings import kill_group
from regrain.manifest import Manifest
from regrain.wire import frames
from regrain.wire.boards import BOARD, IDLE, PROGRESS
from regrain.wire.segments import create, reopen_readonly
from regrain_watchdog.front import weight
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.handlers import Handlers
from regrain_watchdog.front.limits import Limits
from regrain_watchdog.front.link import Link
from regrain_watchdog.front.replica import Replica, State
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.gpu.ending import kill
from regrain_watchdog.policy import restart

logger = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two looks for stages that run over their timeout, where any has one."""
SLOW_TICK = 1.0
"""Seconds between two looks for replicas that do not move, at most."""
STOP_TIMEOUT = 5.0
"""Seconds that a replica which nobody needs has to end when told to stop, before it is killed."""
KILL_TIMEOUT = 60.0
"""Seconds in which one that was killed has ended on any machine, however busy and however much memory it gives back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How replicas are looked after.

    hang_timeout: seconds after which one that has work and does not move is ended; 0.0: never.
    memory: bytes that one may take; 0: no limit.
    patience: seconds that one has to finish calls which go on, where others serve in its place.
    """

    hang_timeout: float = 0.0
    memory: int = 0
    patience: float = 120.0


DEFAULT_CARE = Care()


class Supervisor:
    """The processes of one version of an app.

    handlers: who is told what happens to replicas. gpus: shares GPUs out among those that need one, if anybody does.

    Attributes:
        cancels: the board on which calls are cancelled, one byte per slot.
        replicas: those whose process may still live, by number.
    """

    def __init__(
        self,
        manifest: Manifest,
        zygote: Zygote,
        pool: Pool,
        *,
        handlers: Handlers,
        care: Care,
        gpus: Gpus | None = None,
    ) -> None:
        self._zygote = zygote
        self._gpus = gpus
        self._pool = pool
        self._handlers = handlers
        self._order = manifest.graph.stages
        self._stages = {stage.name: stage for stage in manifest.stages}
        self._hang_timeout = care.hang_timeout
        self._patience = care.patience
        self._has_weights = weight.may_restore()
        self._limits = Limits(care.memory)
        timed = any(stage.timeout for stage in manifest.stages)
        self._interval = TICK if timed else max(TICK, min(SLOW_TICK, care.hang_timeout / 10))
        self.replicas: dict[int, Replica] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._buried = asyncio.Event()
        self._endings: set[asyncio.Task[None]] = set()
        cancels = create(BOARD)
        self._readable_cancels = reopen_readonly(cancels)
        self.cancels = mmap.mmap(cancels, BOARD)
        os.close(cancels)

    def spawn(self, function: Function, stages: tuple[str, ...]) -> Replica:
        """Start a replica for a function, with these stages loaded; OSError where the system has no room for it now."""
        number = self._zygote.number()
        with contextlib.ExitStack() as passed, contextlib.ExitStack() as undone:
            ours, theirs = socket.socketpair()
            undone.callback(ours.close)
            passed.callback(theirs.close)
            leash, held = os.pipe()
            undone.callback(os.close, held)
            passed.callback(os.close, leash)
            board = create(BOARD)
            passed.callback(os.close, board)
            progress = mmap.mmap(board, BOARD)
            undone.callback(progress.close)
            replica = Replica(
                number, self._pool, progress, self._handlers, function, wanted=frozenset(stages), leash=held
            )
            self._zygote.spawn(
                number,
                [leash, theirs.fileno(), self._readable_cancels, board],
                lambda pid, pidfd: self._born(replica, stages, entitled, pid, pidfd),
            )
            undone.pop_all()
        replica.on_trial = function.deaths > 0
        # only now that nothing fails: a place that was found for it is given out once
        entitled: frames.Entitle | None = None
        if self._gpus is not None:
            entitled = self._gpus.seat(number, function.seat, stages)
            if entitled is not None:
                replica.end = self._gpus.end
        self._follow(replica, ours)
        return replica

    def _follow(self, replica: Replica, sock: socket.socket) -> None:
        """Listen to a replica that is about to live, and look after it."""
        PROGRESS.pack_into(replica.progress, 0, IDLE, 0.0)
        replica.born = time.monotonic()
        replica.link = Link(
            sock,
            frames.FromReplica,
            received=replica.received,
            closed=replica.closed,
            takes_descriptors=False,
        )
        self.replicas[replica.number] = replica
        replica.link.start()
        if self._ticker is None:
            self._tick()

    async def end(self, replicas: Collection[Replica]) -> None:
        """Let replicas finish what they hold and end; kill those that do not."""
        await self._end(replicas, STOP_TIMEOUT)

    async def _end(self, replicas: Collection[Replica], timeout: float) -> None:
        for replica in replicas:
            starts = replica.state is State.STARTING
            replica.stop()
            if starts:
                replica.kill("it is not needed any more")  # it may load for long, and holds nothing
        numbers = {replica.number for replica in replicas}
        try:
            await asyncio.wait_for(self._until_buried(numbers), timeout)
        except TimeoutError:
            for number in numbers & self.replicas.keys():
                self.replicas[number].kill("it did not stop when told to")
            await asyncio.wait_for(self._until_buried(numbers), KILL_TIMEOUT)

    def dismiss(self, replicas: Collection[Replica]) -> None:
        """Have replicas end as `end` does, which nobody waits for; what they hold may take as long as `Care` says."""
        for replica in replicas:
            timeout = self._patience if replica.holding else STOP_TIMEOUT
            ending = asyncio.create_task(self._end([replica], timeout))
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def close(self) -> None:
        """Let go of what is left, once all replicas have ended and there are no calls any more."""
        if self._ticker is not None:
            self._ticker.cancel()
        os.close(self._readable_cancels)
        self.cancels.close()

    def kill(self) -> None:
        """End every replica at once, and what it has started, whether or not the zygote gets to that."""
        for replica in list(self.replicas.values()):
            if replica.pidfd >= 0 and replica.end is kill:  # others end with a word to those beside them
                kill_group(replica.pidfd)
            replica.kill("the front ends")
        self._zygote.kill()

    def use_zygote(self, zygote: Zygote) -> None:
        """Start replicas from another zygote from here on, and those first that the old one left unborn."""
        self._zygote = zygote
        for replica in list(self.replicas.values()):
            if replica.pidfd < 0 and replica.link is not None:
                replica.link.close("its zygote died before it was born")

    def bereave(self, replica: Replica, reason: str) -> None:
        """A replica's link is down: see to it that its process ends, too."""
        if replica.pidfd < 0:
            self._bury(replica)  # it was never born
        else:
            replica.kill(reason)

    def drop_segments(self) -> None:
        """Have everybody unmap the segments that are gone."""
        for segment in self._pool.take_dropped():
            for replica in self.replicas.values():
                replica.drop(segment)

    async def _until_buried(self, numbers: set[int]) -> None:
        while numbers & self.replicas.keys():
            self._buried.clear()
            await self._buried.wait()

    def _born(
        self, replica: Replica, stages: tuple[str, ...], entitled: frames.Entitle | None, pid: int, pidfd: int
    ) -> None:
        if replica.number not in self.replicas:
            os.close(pidfd)  # its socket was quicker than the word of its birth
            return
        replica.pid = pid
        replica.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._exit, replica, self._zygote)
        if self._has_weights and self._handlers.others_serve():
            weight.give_way(pid)
            replica.gives_way = True
        self._limits.apply(pid, on_gpu=any(self._stages[name].gpu for name in stages))
        if entitled is not None:
            replica.entitle(entitled)
        replica.load(stages)

    def _exit(self, replica: Replica, zygote: Zygote) -> None:
        """The process has ended, its memory with it: what was granted to it can be used again.

        Its zygote ends what it has left behind; we do if that has died before.
        """
        asyncio.get_running_loop().remove_reader(replica.pidfd)
        if zygote.died_of:
            kill_group(replica.pidfd)
        if replica.link is not None:
            replica.link.drain("its process ended")
        self._bury(replica)

    def _bury(self, replica: Replica) -> None:
        if self.replicas.pop(replica.number, None) is None:
            return
        replica.bury()
        if self._gpus is not None:
            self._gpus.leave(replica.number)
        self._limits.release(replica.pid)
        self.drop_segments()
        self._buried.set()

    def _tick(self) -> None:
        """Look after every replica, and again in a while."""
        now = time.monotonic()
        for replica in list(self.replicas.values()):
            self._look(replica, now)
        self._ticker = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _look(self, replica: Replica, now: float) -> None:
        """Kill what hangs: a replica whose stage runs over its timeout, or that has work and does not move."""
        if replica.state is State.DEAD:
            return
        if replica.state is State.READY and now - replica.born > restart.SETTLED:
            self._handlers.lasts(replica)
        place, since = replica.running()
        since = since if since <= now else 0.0  # nothing has begun in times to come
        stage = self._stages[self._order[place]] if 0 <= place < len(self._order) else None
        if stage is not None and stage.timeout:
            if now - since > stage.timeout:
                replica.timed_out = True
                replica.kill(f"stage {stage.name!r} ran over its timeout of {stage.timeout:g} s")
            return
        sent = min((dispatch.sent for dispatch in replica.holding.values()), default=now)
        if self._hang_timeout and now - max(since, sent) > self._hang_timeout:
            replica.timed_out = True
            what = f"stage {stage.name!r}" if stage is not None else "the replica"
            replica.kill(f"{what} has not moved for {self._hang_timeout:g} s")
