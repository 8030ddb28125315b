"""Start replicas, watch them, and start them again: the only place where processes of the user's code begin and end."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import LoadError, RequestError
from regrain.manifest import Manifest
from regrain.wire import frames
from regrain.wire.boards import BOARD, IDLE, PROGRESS
from regrain.wire.segments import create, reopen_readonly
from regrain_watchdog.front.course import crash_loop
from regrain_watchdog.front.function import Death, Function
from regrain_watchdog.front.limits import Limits
from regrain_watchdog.front.link import Link
from regrain_watchdog.front.replica import Dispatch, Handlers, Replica, State
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.policy import restart
from regrain_watchdog.policy.retry import Progress, progress

logger = logging.getLogger(__name__)

TICK = 0.05
"""Seconds between two looks for stages that run over their timeout, where any has one."""
SLOW_TICK = 1.0
"""Seconds between two looks for replicas that do not move, at most."""
STOP_TIMEOUT = 5.0
"""Seconds that a replica has to end when told to stop, before it is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """How replicas are looked after.

    hang_timeout: seconds after which one that has work and does not move is ended; 0.0: never.
    memory: bytes that one may take; 0: no limit.
    """

    hang_timeout: float = 0.0
    memory: int = 0


DEFAULT_CARE = Care()


class Supervisor:
    """Keeps every function at its number of replicas.

    done: told of each result. lost: told of each dispatch that dies with its replica while all are stopped, and why.
    failed: told once when a replica cannot load at the start, with a sentence.
    """

    def __init__(
        self,
        manifest: Manifest,
        zygote: Zygote,
        pool: Pool,
        *,
        done: Callable[[Function, Replica, Dispatch, frames.Done], None],
        lost: Callable[[Function, Dispatch, RequestError], None],
        failed: Callable[[Exception], None],
        care: Care,
    ) -> None:
        self._zygote = zygote
        self.functions: list[Function] = []
        self._pool = pool
        self._done = done
        self._lost = lost
        self._failed = failed
        self._order = manifest.graph.stages
        self._stages = {stage.name: stage for stage in manifest.stages}
        self._hang_timeout = care.hang_timeout
        self._limits = Limits(care.memory)
        timed = any(stage.timeout for stage in manifest.stages)
        self._interval = TICK if timed else max(TICK, min(SLOW_TICK, care.hang_timeout / 10))
        self._replicas: dict[int, tuple[Function, Replica]] = {}
        self._stopping = False
        self._ticker: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self._ready = asyncio.Event()
        cancels = create(BOARD)
        self._readable_cancels = reopen_readonly(cancels)
        self.cancels = mmap.mmap(cancels, BOARD)
        os.close(cancels)

    def start(self, functions: list[Function]) -> None:
        """Start the replicas of some functions and keep them running."""
        self.functions = functions
        for function in functions:
            for _ in range(function.group.replicas):
                self._spawn(function)
        self._tick()

    async def settled(self, state: State) -> None:
        """Wait until every replica of every function has reached a state (LOADED or READY)."""
        reached = (State.READY,) if state is State.READY else (State.LOADED, State.READY)
        while not all(
            len(function.replicas) >= function.group.replicas
            and all(replica.state in reached for replica in function.replicas)
            for function in self.functions
        ):
            self._ready.clear()
            await self._ready.wait()

    def warmed(self) -> None:
        """The sample has been through: warm up the replicas that it did not touch."""
        for function in self.functions:
            function.is_warming = False
            for replica in list(function.replicas):
                self._warm(function, replica)

    async def stop(self) -> None:
        """Let every replica finish what it holds and end; kill what does not."""
        self._stopping = True
        if self._ticker is not None:
            self._ticker.cancel()
        for _, replica in list(self._replicas.values()):
            if replica.state is State.STARTING:
                replica.kill("it is not needed any more")  # it may load for long, and holds nothing
            else:
                replica.stop()
        try:
            await asyncio.wait_for(self._until_empty(), STOP_TIMEOUT)
        except TimeoutError:
            for _, replica in list(self._replicas.values()):
                replica.kill("it did not stop when told to")
            await asyncio.wait_for(self._until_empty(), STOP_TIMEOUT)
        os.close(self._readable_cancels)

    def close(self) -> None:
        """Let go of the board on which calls are cancelled, once there are none any more."""
        self.cancels.close()

    def kill(self) -> None:
        """End every replica at once."""
        self._stopping = True
        for _, replica in list(self._replicas.values()):
            replica.kill("the front ends")
        self._zygote.kill()

    def use_zygote(self, zygote: Zygote) -> None:
        """Start replicas from another zygote from here on, and those first that the old one left unborn."""
        self._zygote = zygote
        for _, replica in list(self._replicas.values()):
            if replica.pidfd < 0 and replica.link is not None:
                replica.link.close("its zygote died before it was born")

    def exited(self, number: int, status: int) -> None:
        """A replica has been reaped: say how it ended if nobody asked for it."""
        if not self._stopping:
            how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
            logger.warning("replica %d ended: %s", number, how)

    async def _until_empty(self) -> None:
        while self._replicas:
            self._empty.clear()
            await self._empty.wait()

    def _spawn(self, function: Function) -> None:
        if self._stopping:
            return
        number = self._zygote.number()
        ours, theirs = socket.socketpair()
        board = create(BOARD)
        replica = Replica(number, self._pool, mmap.mmap(board, BOARD), self._handlers(function))
        PROGRESS.pack_into(replica.progress, 0, IDLE, 0.0)
        replica.born = time.monotonic()
        replica.on_trial = function.deaths > 0
        replica.link = Link(
            ours,
            frames.FromReplica,
            received=replica.received,
            closed=replica.closed,
            takes_descriptors=False,
        )
        self._replicas[number] = (function, replica)
        function.replicas.append(replica)
        replica.link.start()
        self._zygote.spawn(
            number,
            [theirs.fileno(), self._readable_cancels, board],
            lambda pid, pidfd: self._born(function, replica, pid, pidfd),
        )
        asyncio.get_running_loop().call_soon(_close, theirs, board)

    def _born(self, function: Function, replica: Replica, pid: int, pidfd: int) -> None:
        if replica.number not in self._replicas:
            os.close(pidfd)  # its socket was quicker than the word of its birth
            return
        replica.pid = pid
        replica.pidfd = pidfd
        asyncio.get_running_loop().add_reader(pidfd, self._exit, replica)
        on_gpu = any(self._stages[name].gpu for name in function.group.stages)
        self._limits.apply(pid, on_gpu=on_gpu)
        replica.load(function.group.stages)

    def _handlers(self, function: Function) -> Handlers:
        return Handlers(
            loaded=lambda replica, frame: self._loaded(function, replica, frame),
            load_failed=lambda replica, frame: self._load_failed(function, replica, frame),
            done=lambda replica, dispatch, frame: self._ran(function, replica, dispatch, frame),
            gone=lambda replica, reason: self._gone(function, replica, reason),
        )

    def _loaded(self, function: Function, replica: Replica, frame: frames.Loaded) -> None:
        if replica.state is State.STARTING and set(function.group.stages) <= set(frame.stages):
            replica.state = State.LOADED
            if not function.is_warming:
                self._warm(function, replica)
            self._ready.set()

    def _warm(self, function: Function, replica: Replica) -> None:
        if replica.state is not State.LOADED:
            return
        if not function.sample:
            self._up(function, replica)
            return
        try:
            function.warm(replica)
        except RequestError as error:
            replica.kill(f"it could not be warmed up: {error}")

    def _up(self, function: Function, replica: Replica) -> None:
        replica.state = State.READY
        self._ready.set()
        function.pump()

    def _load_failed(self, function: Function, replica: Replica, frame: frames.LoadFailed) -> None:
        if function.is_warming:
            self._give_up(frame.detail)
        replica.kill(frame.detail)

    def _ran(self, function: Function, replica: Replica, dispatch: Dispatch, frame: frames.Done) -> None:
        if dispatch.jobs:
            replica.served = True
            self._lasts(function, replica)
        self._done(function, replica, dispatch, frame)
        if replica.state is State.LOADED:
            self._up(function, replica)

    def _gone(self, function: Function, replica: Replica, reason: str) -> None:
        """A replica's link is down: what it held is lost; another takes its place."""
        replica.state = State.DEAD
        function.replicas.remove(replica)
        poisoned = self._bequeath(function, replica, reason)
        if replica.pidfd < 0:
            self._bury(replica)  # it was never born
        else:
            replica.kill(reason)
        if not self._stopping:
            function.died()
            logger.warning(
                "replica %d (pid %d) of %s is gone: %s", replica.number, replica.pid, function.name, reason
            )
            if not poisoned:
                lived = time.monotonic() - replica.born
                function.deaths = restart.deaths_in_a_row(function.deaths, lived, served=replica.served)
            self._again(function)
            function.pump()

    def _bequeath(self, function: Function, replica: Replica, reason: str) -> bool:
        """See to what a dead replica held; return whether a request is found to be what ends replicas."""
        held, begun = dict(replica.holding), replica.begun()
        replica.holding.clear()
        place = replica.running()[0]
        stage = self._order[place] if 0 <= place < len(self._order) else function.name
        if self._stopping:
            error = RequestError(
                HTTPStatus.BAD_GATEWAY, f"the replica died that ran stage {stage!r}", stage=stage
            )
            for dispatch in held.values():
                self._lost(function, dispatch, error)
            return False
        bars = next((name for name in function.group.stages if not self._stages[name].idempotent), "")
        death = Death(stage=stage, detail=reason, timed_out=replica.timed_out, rerun_bars=bars)
        poisoned = False
        for number in sorted(held, reverse=True):  # what goes back in line first is next in line last
            how_far = progress(number, begun)
            poisoned |= how_far is Progress.RAN and any(job.deaths for job in held[number].jobs)
            function.lost(held[number], how_far, death)
        return poisoned

    def _lasts(self, function: Function, replica: Replica) -> None:
        """A replica that took the place of one that died early is of use: the group is out of the woods."""
        if replica.on_trial:
            replica.on_trial = False
            function.deaths = 0

    def _give_up(self, detail: str) -> None:
        """The app cannot start: nothing is started again."""
        if not self._stopping:
            self._stopping = True
            self._failed(LoadError(detail))

    def _again(self, function: Function) -> None:
        deaths = function.deaths
        if function.is_warming and deaths > restart.ATTEMPTS:
            self._give_up(f"replicas of {function.name} died {deaths} times in a row before one was ready")
            return
        if function.is_looping and not function.is_serving:
            function.drain(crash_loop(function))
        asyncio.get_running_loop().call_later(restart.delay(deaths), self._spawn, function)

    def _exit(self, replica: Replica) -> None:
        """The process has ended, its memory with it: what was granted to it can be used again."""
        asyncio.get_running_loop().remove_reader(replica.pidfd)
        if replica.link is not None:
            replica.link.drain("its process ended")
        self._bury(replica)

    def _bury(self, replica: Replica) -> None:
        if self._replicas.pop(replica.number, None) is None:
            return
        replica.bury()
        self._limits.release(replica.pid)
        self.drop_segments()
        self._empty.set()

    def drop_segments(self) -> None:
        """Have everybody unmap the segments that are gone."""
        for segment in self._pool.take_dropped():
            for _, replica in self._replicas.values():
                replica.drop(segment)

    def _tick(self) -> None:
        """Look after every replica, and again in a while."""
        now = time.monotonic()
        for function, replica in list(self._replicas.values()):
            self._look(function, replica, now)
        self._ticker = asyncio.get_running_loop().call_later(self._interval, self._tick)

    def _look(self, function: Function, replica: Replica, now: float) -> None:
        """Kill what hangs: a replica whose stage runs over its timeout, or that has work and does not move."""
        if replica.state is State.DEAD:
            return
        if replica.state is State.READY and now - replica.born > restart.SETTLED:
            self._lasts(function, replica)
        place, since = replica.running()
        stage = self._stages[self._order[place]] if 0 <= place < len(self._order) else None
        if stage is not None and stage.timeout:
            if now - since > stage.timeout:
                replica.timed_out = True
                replica.kill(f"stage {stage.name!r} ran over its timeout of {stage.timeout:g} s")
            return
        sent = min((dispatch.sent for dispatch in replica.holding.values()), default=now)
        if self._hang_timeout and now - max(since, sent) > self._hang_timeout:
            replica.timed_out = True
            replica.kill(f"it has not moved for {self._hang_timeout:g} s")


def _close(sock: socket.socket, board: int) -> None:
    sock.close()
    os.close(board)
