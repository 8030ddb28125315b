"""The replicas of one version of an app, and which of them serves which function.

A plan is a set of functions over these replicas. What a replica has loaded decides what it can serve, so that the next
plan's functions take over living replicas, and the old plan's keep them until its last call has ended: a replica that
serves none any more is stopped. Shared memory, the cancel board and what was learned of steps outlive its plans.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence

from regrain.errors import LoadError, RequestError
from regrain.manifest import Manifest
from regrain.plan import Group, Step
from regrain.wire import frames
from regrain.wire.boards import BOARD
from regrain.wire.lease import Status
from regrain_watchdog.front import casting, weight
from regrain_watchdog.front.bequest import bequeath
from regrain_watchdog.front.course import crash_loop
from regrain_watchdog.front.flight import Flight
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.learned import Learned
from regrain_watchdog.front.pooled import lead, leads, pump
from regrain_watchdog.front.replica import Dispatch, Replica, State
from regrain_watchdog.front.segments import Pool
from regrain_watchdog.front.starting import Starting
from regrain_watchdog.front.supervise import DEFAULT_CARE, Care, Supervisor
from regrain_watchdog.front.zygote import Zygote
from regrain_watchdog.policy import resident, restart

logger = logging.getLogger(__name__)


class Crew:
    """Keeps every function at its number of replicas.

    memory: bytes of shared memory for values at most. keeps: which stages replicas keep loaded (policy/resident.py).
    gpus: shares out the GPUs; None where nobody does. beside: whether another version serves meanwhile.

    Attributes:
        slots: free places on the cancel board.
    """

    def __init__(
        self,
        manifest: Manifest,
        zygote: Zygote,
        *,
        memory: int,
        care: Care = DEFAULT_CARE,
        keeps: str = resident.PLAN,
        gpus: Gpus | None = None,
        beside: bool = False,
    ) -> None:
        self.manifest = manifest
        self.keeps = keeps
        self.pool = Pool(memory)
        self.slots = list(range(BOARD - 1, 0, -1))
        self._order = manifest.graph.stages
        self._gpus = gpus
        self._supervisor = Supervisor(manifest, zygote, self.pool, handlers=self, care=care, gpus=gpus)
        self.cancels = self._supervisor.cancels
        self._functions: list[Function] = []
        self._learned: dict[Step, Learned] = {}
        self._moved = asyncio.Event()
        self._plans = 0
        self._cores = len(os.sched_getaffinity(0))
        self._starting = Starting(may_start=self._may_start, start=self._spawn)
        self._beside = beside
        self._told: set[int] = set()
        self._stopping = False

    def learned(self, step: Step) -> Learned:
        """Return what is known of a step; equal steps share it."""
        return self._learned.setdefault(step, Learned(step))

    def employ(self, functions: Iterable[Function]) -> None:
        """Take in a plan's functions; they have no replicas yet."""
        self._functions.extend(functions)
        self._plans += 1

    @property
    def replicas(self) -> list[Replica]:
        """Every replica whose process may still live."""
        return list(self._supervisor.replicas.values())

    def cast(self, groups: Sequence[Group]) -> resident.Cast:
        """Say how the groups of another plan could be served by the replicas that are warm."""
        living = [
            resident.Living(replica.number, replica.home.seat.name, replica.resident)
            for replica in self.replicas
            if replica.state is State.READY
        ]
        return casting.cast(living, groups, self._gpus)

    def adopt(self, functions: Sequence[Function], cast: resident.Cast) -> None:
        """Let functions be served by replicas that live, beside what these serve already."""
        by_name = {function.seat.name: function for function in leads(functions)}
        pairs = [(number, name) for number, name in cast.homes.items()]
        pairs += [(number, name) for name, numbers in cast.guests.items() for number in numbers]
        for number, name in pairs:
            by_name[name].join(self._supervisor.replicas[number])

    def start(self, function: Function, count: int) -> None:
        """Start so many replicas for a function and keep them running."""
        function.wanted = count
        self.staff(function)

    async def settled(self, functions: Sequence[Function], state: State) -> None:
        """Wait until every replica of its own has reached a state (LOADED or READY) in each function."""
        reached = (State.READY,) if state is State.READY else (State.LOADED, State.READY)
        while not all(
            len(function.own) >= function.wanted and all(replica.state in reached for replica in function.own)
            for function in functions
        ):
            await self.moved()

    def warmed(self, functions: Sequence[Function]) -> None:
        """The sample has been through: warm up what it did not touch."""
        for function in functions:
            function.is_warming = False
        for function in functions:
            for replica in function.own:
                self._warm(replica)

    def enforce(self, functions: Sequence[Function], homes: Mapping[int, str]) -> None:
        """Put a plan in force: replicas count for its functions now, and those of other plans end with these."""
        by_name = {function.seat.name: function for function in leads(functions)}
        for number, name in homes.items():
            replica = self._supervisor.replicas.get(number)
            if replica is not None and replica in by_name[name].replicas:
                replica.home = by_name[name]
                self.book(replica)
        for function in self._functions:
            function.wanted = 0
        for function in functions:
            function.wanted = function.seat.replicas if function.is_lead else 0
            function.is_warming = False
            self.staff(function)

    def device(self, number: int) -> int:
        """Return the GPU that a replica is on, by its number; 0 where it is on none."""
        return self._gpus.device(number) if self._gpus is not None else 0

    def gpu_books(self) -> list[Status]:
        """Return what each GPU's arbiter has in its books; none where nobody shares them out."""
        return [arbiter.status() for arbiter in self._gpus.arbiters] if self._gpus is not None else []

    def book(self, replica: Replica, more: Collection[str] = ()) -> None:
        """Entitle a replica to what its group and all stages need of a GPU that it has, or is to load."""
        gpus, stages = self._gpus, replica.wanted.union(more)
        if gpus is not None and (entitled := gpus.move(replica.number, replica.home.seat, stages)):
            replica.end = gpus.end
            replica.entitle(entitled)

    async def leave(self, functions: Sequence[Function]) -> None:
        """Serve some functions no more, and end the replicas that only they had."""
        self._functions = [one for one in self._functions if one not in functions]
        self._stopping = not self._functions
        for function in functions:
            for replica in list(function.replicas):
                function.part(replica)
        ending = [replica for replica in self.replicas if not replica.functions]
        self._told.update(replica.number for replica in ending)
        guests = [replica for replica in ending if replica.runs_any(self._functions)]
        self._supervisor.dismiss(guests)
        await self._supervisor.end([replica for replica in ending if replica not in guests])
        self.tidy()

    def interrupt(self, flights: Collection[Flight]) -> None:
        """End the replicas that still run these calls, which nobody waits for: other plans need them."""
        for replica in self.replicas:
            if any(job.flight in flights for one in replica.holding.values() for job in one.jobs):
                replica.kill("it still ran a call of a plan whose time was up")

    def close(self) -> None:
        """A plan has left and has no call any more: the last one lets go of memory."""
        self._plans -= 1
        if not self._plans:
            self.pool.close()
            self._supervisor.close()

    def kill(self) -> None:
        """End every process at once."""
        self._stopping = True
        self._supervisor.kill()

    def use_zygote(self, zygote: Zygote) -> None:
        """Start replicas from another zygote from here on."""
        self._supervisor.use_zygote(zygote)

    def exited(self, number: int, status: int) -> None:
        """A replica has been reaped: say how it ended if nobody asked for it."""
        if number in self._told:
            self._told.remove(number)
        elif status and not self._stopping:
            how = f"killed by signal {-status}" if status < 0 else f"exit code {status}"
            logger.warning("replica %d ended: %s", number, how)

    def drop_segments(self) -> None:
        """Have everybody unmap the segments that are gone."""
        self._supervisor.drop_segments()

    async def moved(self) -> None:
        """Wait until something has changed about a replica."""
        self._moved.clear()
        await self._moved.wait()

    def kept(self, replica: Replica) -> tuple[str, ...]:
        """Return the stages that a replica is to have loaded, in the app's order."""
        stages = {name for function in replica.functions for name in function.group.stages}
        return resident.kept(self.keeps, stages, self._order)

    def tidy(self) -> list[Replica]:
        """Have replicas drop the stages that they need not keep; return those that have any."""
        told = []
        for replica in self.replicas:
            if replica.functions and replica.state in (State.READY, State.LOADED):
                kept = self.kept(replica)
                spare = tuple(name for name in self._order if name in replica.resident and name not in kept)
                if spare:
                    replica.unload(spare)
                    self.book(replica)
                    told.append(replica)
        return told

    def _may_start(self) -> bool:
        now = time.monotonic()
        ages = [now - one.born for one in self.replicas if one.state is State.STARTING]
        return restart.may_start(ages, self._cores, serving=self.others_serve())

    def _spawn(self, function: Function) -> None:
        if function in self._functions and not self._stopping:
            stages = resident.kept(self.keeps, function.seat.stages, self._order)
            function.join(self._supervisor.spawn(function, stages))

    def staff(self, function: Function) -> None:
        """Start the replicas that a function lacks; one of a plan that only ends its calls needs somebody, too."""
        if self._stopping or function.is_given_up or function not in self._functions:
            return
        function = lead(function)
        self.cover(function)
        short = function.wanted - len(function.own) - self._starting.count(function)
        somebody_comes = function.replicas or self._starting.count(function) or function.is_elsewhere
        for _ in range(max(short, 0 if somebody_comes else 1)):
            self._starting.add(function)
        pump(function.together())

    def cover(self, function: Function) -> None:
        """Have a function that nobody serves be served by whoever has its stages, until it has replicas of its own."""
        function = lead(function)
        if not function.is_serving:
            for replica in self.replicas:
                if replica.state is State.READY and replica.resident.issuperset(function.seat.stages):
                    function.join(replica)

    def loaded(self, replica: Replica, _frame: frames.Loaded) -> None:
        """A replica's resident set has changed."""
        if replica.state in (State.STARTING, State.LOADING) and replica.wanted <= replica.resident:
            replica.state = State.LOADED
            if replica.home.is_warming:
                pump(replica.functions)  # the sample may wait for it
            else:
                self._warm(replica)
            self._starting.go_on()
        self._moved.set()

    def load_failed(self, replica: Replica, frame: frames.LoadFailed) -> None:
        """A replica could not load a stage: a new one is of no use, an old one serves on without it."""
        detail = " ".join(frame.detail.split())
        if replica.state is State.LOADING:
            logger.warning("replica %d: %s", replica.number, detail)
            replica.wanted, replica.has_settled = replica.resident, True
            self.book(replica)
            self._up(replica)
            return
        if replica.home.is_warming:
            self._give_up(replica.home, detail)
            replica.state = State.STOPPING
            self._told.add(replica.number)
        replica.kill(detail)

    def done(self, replica: Replica, dispatch: Dispatch, frame: frames.Done) -> None:
        """A batch came back: its app goes on with it, and the replica takes what is most urgent."""
        replica.warmed.update(replica.resident.intersection(dispatch.step.stages))
        if dispatch.jobs:
            replica.served = True
            self.lasts(replica)
        dispatch.function.owner.done(replica, dispatch, frame)
        if dispatch.step.streams:
            self._moved.set()  # somebody may wait for its end
        if replica.state is State.LOADED and not replica.is_warming and not replica.home.is_warming:
            self._up(replica)
        else:
            pump(replica.functions)

    def lasts(self, replica: Replica) -> None:
        """A replica that took the place of one that died early is of use: its group is out of the woods."""
        if replica.on_trial:
            replica.on_trial = False
            replica.home.deaths = 0

    def gone(self, replica: Replica, reason: str) -> None:
        """A replica's link is down: what it held is lost; another takes its place."""
        was_told_to = replica.state is State.STOPPING or self._stopping
        was_idle = replica.state is State.READY and not replica.holding
        replica.state = State.DEAD
        functions, home = replica.functions, replica.home
        for function in list(functions):
            function.part(replica)
        bereft = [dispatch.function for dispatch in replica.holding.values()]  # some may have parted from it
        poisoned = bequeath(replica, reason, self.manifest, () if self._stopping else self._functions)
        self._supervisor.bereave(replica, reason)
        self._moved.set()
        self._starting.go_on()
        if was_told_to:
            for function in dict.fromkeys(bereft):
                self.staff(function)
            return
        home.died()
        logger.warning(
            "replica %d (pid %d) of %s is gone: %s", replica.number, replica.pid, home.name, reason
        )
        if not poisoned:
            lived = time.monotonic() - replica.born
            sound = replica.served or (was_idle and lived >= restart.IDLE)
            home.deaths = restart.deaths_in_a_row(home.deaths, lived, served=sound)
        self._again(home)
        for function in dict.fromkeys([*functions, *bereft]):
            if function is not home:
                self.staff(function)

    def _warm(self, replica: Replica) -> None:
        """Run the sample on a replica, as far as its stages have not run there yet."""
        if replica.state is not State.LOADED:
            return
        try:
            for function in self._functions:
                if (
                    replica.can(function.step)
                    and function.learned.sample
                    and not replica.warmed.issuperset(function.group.stages)
                ):
                    function.warm(replica)
                    replica.warmed.update(function.group.stages)
        except RequestError as error:
            replica.kill(f"it could not be warmed up: {error}")
            return
        if not replica.is_warming:
            self._up(replica)

    def others_serve(self) -> bool:
        """Whether there are replicas that serve, to which one that starts gives way."""
        return self._beside or any(one.state is State.READY for one in self.replicas)

    def _up(self, replica: Replica) -> None:
        replica.state = State.READY
        if replica.gives_way:
            replica.gives_way = False
            weight.come_back(replica.pid)
        self._moved.set()
        self.relieve(replica.home)
        pump(replica.functions)

    def relieve(self, function: Function) -> None:
        """Let guests go once a function has all replicas of its own; those end that serve nothing else."""
        own = [replica for replica in function.own if replica.state is State.READY]
        guests = [replica for replica in function.replicas if replica.home is not function]
        if not guests or len(own) < function.seat.replicas:
            return
        for replica in guests:
            function.part(replica)
        self._supervisor.dismiss([replica for replica in guests if not replica.functions])
        self.tidy()

    def _give_up(self, function: Function, detail: str) -> None:
        """A plan cannot start: nothing is started for it again."""
        if not function.is_given_up:
            function.is_given_up = True
            function.owner.broke(LoadError(detail))

    def _again(self, function: Function) -> None:
        deaths = function.deaths
        if function.is_warming and deaths > restart.ATTEMPTS:
            detail = f"replicas of {function.name} died {deaths} times in a row before one was ready"
            self._give_up(function, detail)
            return
        if function.is_looping and not function.is_serving:
            for one in function.together():
                one.drain(crash_loop(function))
        asyncio.get_running_loop().call_later(restart.delay(deaths), self.staff, function)
        function.pump()
