"""`python -m regrain_runtime measure MODULE`: time the stages of an app, as `regrain profile` asks.

It is a replica in all that costs time: the same executor, threads and leases of its GPU. Only nothing is handed over
from process to process. It answers line by line (regrain.wire.measuring); what stages print goes to stderr.
"""

from __future__ import annotations

import gc
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from statistics import fmean, median, stdev
from typing import BinaryIO

from msgspec import structs

from regrain.answers import sentence
from regrain.app import App
from regrain.calls import Job
from regrain.context import Context
from regrain.errors import RegrainError
from regrain.execute import Executor, Work
from regrain.graph import Ref
from regrain.manifest import StageSpec
from regrain.outcomes import Failed
from regrain.plan import Input, Step
from regrain.weights.store import give_back
from regrain.wire import measuring
from regrain.wire.codec import pack, unpack_inline
from regrain.wire.frames import Entitle, Timing
from regrain_runtime import module
from regrain_runtime.forks import begin, live
from regrain_runtime.gpu.station import Station
from regrain_runtime.memory import unique_set_size
from regrain_runtime.output import take_stdout
from regrain_runtime.zygote import reseed

LEAST = 3
"""Calls that a mean is of, however long they take."""
MOST = 2000
"""Calls that a mean is of at most."""
OFTEN = 32
"""Calls after which it is looked only every so many whether they are enough."""
SCHEDSTAT = "/proc/thread-self/schedstat"
"""Nanoseconds on a core, nanoseconds waiting for one, and how often it had one."""
ROOM = 128


class RefusedError(RegrainError):
    """What was asked cannot be done."""


@dataclass(slots=True)
class Seen:
    """What a stage was given by one request, what it gave for that, and what its call grew the process by, in bytes."""

    jobs: list[Job] = field(default_factory=list)
    out_bytes: float = 0.0
    grown: int = 0


class Recorder(Executor):
    """An executor that notes in a walk through the flow what each stage is given.

    doing: told of each stage before its calls, where they are named.

    Attributes:
        seen: by stage; None outside of a walk.
        names: whether stages are named: where several run at once, so that it is known which of them ends the process.
        naming: seconds that it took to name them so far.
    """

    def __init__(self, app: App, *, clock: Callable[[], float], doing: Callable[[str], None]) -> None:
        super().__init__(app, clock=clock)
        self.seen: dict[str, Seen] | None = None
        self.names, self.naming = False, 0.0
        self._clock, self._doing = clock, doing

    def call(self, name: str, jobs: list[Job]) -> Timing:
        """Make a stage's calls, and in a walk note them."""
        if self.names:
            began = self._clock()
            self._doing(name)
            self.naming += self._clock() - began
        if self.seen is None:
            return super().call(name, jobs)
        given = [again(job) for job in jobs]
        before = unique_set_size()
        timing = super().call(name, jobs)
        grown = max(0, unique_set_size() - before)
        self.seen[name] = Seen(given, fmean(map(_bytes, jobs)) if jobs else 0.0, grown)
        return timing


def again(job: Job) -> Job:
    """Return a job as it was before its call."""
    return Job(job.context, job.args, job.kwargs, job.give)


class OwnTime:
    """A clock that stands still while the thread that made it could run but another one has its core.

    What neighbours on the machine cost is no property of a stage: alone is how its times are to be known.
    """

    def __init__(self) -> None:
        try:
            self._stat = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # a kernel without the accounts of its scheduler
            self._stat = -1

    def __call__(self) -> float:
        """Return seconds since some point in the past."""
        delayed = int(os.pread(self._stat, ROOM, 0).split()[1]) if self._stat >= 0 else 0
        return time.monotonic() - delayed * 1e-9


class Laps:
    """Times of one call that is made over and over: the mean of its service, and with it the median wait for its lease.

    Nobody else wants the lease, so that wait is the same each time but for what the arbiter waits for its core.
    """

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._waited: list[float] = []

    def add(self, seconds: float, waited: float = 0.0) -> None:
        """Count a call: the seconds of its service, and those that it waited for a lease before."""
        self._seconds.append(seconds)
        self._waited.append(waited)

    def are_enough(self, error: float) -> bool:
        """Whether the standard error of the mean is at most `error` of it."""
        count = len(self._seconds)
        if count < LEAST or (count > OFTEN and count % OFTEN):
            return False
        return count >= MOST or stdev(self._seconds) <= error * fmean(self._seconds) * math.sqrt(count)

    def timed(self, device: int = 0) -> measuring.Timed:
        """Return mean, variation and count."""
        count, waited = len(self._seconds), median(self._waited)
        mean = fmean(self._seconds) + waited
        cv = stdev(self._seconds) / mean if count > 1 and mean > 0 else 0.0
        return measuring.Timed(mean, cv, count, waited, device)


class Bench:
    """An app's stages, loaded to be timed.

    doing: told which stage is run from here on.
    """

    def __init__(
        self,
        app: App,
        *,
        clock: Callable[[], float] | None = None,
        doing: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._clock = clock = clock or OwnTime()
        self._doing = doing
        self._executor = Recorder(app, clock=clock, doing=doing)
        self._allowed = sorted(os.sched_getaffinity(0))
        self._cores: dict[str, float] = {}
        self._works: list[Work] = []
        self._walked: list[dict[str, Seen]] = []
        inputs = tuple(Input(Ref(f"${name}")) for name in app.graph.inputs)
        self._flow = Step(stages=app.graph.stages, inputs=inputs, outputs=())

    def do(self, ask: measuring.Ask) -> measuring.Answer:
        """Do what is asked; Refused where that cannot be."""
        try:
            match ask:
                case measuring.Seat():
                    return self._seat(ask.entitled)
                case measuring.Load():
                    self._doing(ask.stage)
                    return self._load(self._stage(ask.stage), ask.cpu)
                case measuring.Walk():
                    return self._walk(ask.requests)
                case measuring.Time():
                    self._doing(ask.stage)
                    return self._time(ask)
                case measuring.Chain():
                    return self._chain(ask)
        except RegrainError as error:
            return measuring.Refused(str(error))

    def _seat(self, entitled: Entitle) -> measuring.Seated:
        began = self._clock()
        if isinstance(self._executor.device, Station):
            self._executor.device.follow(entitled)
        else:
            self._executor.device = Station(entitled, clock=self._clock)
        return measuring.Seated(self._clock() - began, self._most_held())

    def _load(self, spec: StageSpec, cpu: float) -> measuring.Loaded:
        if self._cores.get(spec.name) != cpu:
            self._executor.unload([spec.name])
            give_back()
        self._pin(cpu)
        stage = self._app.stages[spec.name]
        stage.spec = structs.replace(
            spec, cpu=cpu
        )  # what model helpers take the number of their threads from
        try:
            seconds = self._executor.load([spec.name]).get(spec.name, 0.0)
        finally:
            stage.spec = spec
        self._cores[spec.name] = cpu
        return measuring.Loaded(seconds, unique_set_size(), self._most_held())

    def _walk(self, requests: Sequence[measuring.Request]) -> measuring.Walked:
        works = [self._work(request, number) for number, request in enumerate(requests)]
        self._whole()
        walked = []
        for number, work in enumerate(works):
            self._executor.seen = {}
            try:
                outcomes, _ = self._executor.run(self._flow, [work])
                walked.append(self._executor.seen)
            finally:
                self._executor.seen = None
            if isinstance(outcomes[0], Failed):
                raise RefusedError(f"request {number + 1} fails: {outcomes[0].detail}")
        self._works, self._walked = works, walked
        return _told(self._flow.stages, walked)

    def _time(self, ask: measuring.Time) -> measuring.Timed:
        stage = self._stage(ask.stage)
        jobs = (
            self._walked[ask.request].get(ask.stage, Seen()).jobs if ask.request < len(self._walked) else []
        )
        if not jobs or ask.stage not in self._cores:
            raise RefusedError(f"stage {ask.stage!r} is not loaded, or was given nothing by that request")
        if not 1 <= ask.batch <= (stage.max_size if stage.batched else 1):
            raise RefusedError(f"a call of stage {ask.stage!r} takes 1 to {stage.max_size}, was {ask.batch}")
        units = cycle(jobs)  # each in its turn, as a request's units may differ
        self._executor.names = False
        self._pin(self._cores[ask.stage])
        self._most_held()

        def lap() -> tuple[float, float]:
            mine = [again(job) for job in islice(units, ask.batch)]
            timing = self._executor.call(ask.stage, mine)
            failed = next((job.error for job in mine if job.error is not None), None)
            why = sentence(failed) if failed is not None else "each alone they pass"
            if failed is not None or timing.calls > 1:
                raise RefusedError(f"stage {ask.stage!r} fails on {ask.batch} at once: {why}")
            return timing.seconds, timing.leased

        return self._laps(lap, ask.limit, ask.error).timed(self._most_held())

    def _chain(self, ask: measuring.Chain) -> measuring.Timed:
        if ask.request >= len(self._works):
            raise RefusedError("that request has not walked through the flow")
        self._whole()
        executor = self._executor

        def lap() -> tuple[float, float]:
            began, naming = self._clock(), executor.naming
            executor.run(self._flow, [self._works[ask.request]])
            return self._clock() - began - (executor.naming - naming), 0.0

        return self._laps(lap, ask.limit, ask.error).timed()

    def _whole(self) -> None:
        """Run all stages from here on: on the most cores that one has, and each named."""
        self._pin(max(self._cores.values(), default=1.0))
        self._executor.names = True

    def _laps(self, lap: Callable[[], tuple[float, float]], limit: float, error: float) -> Laps:
        """Make a call over and over; the first of them counts only where it took all the time."""
        until = self._clock() + limit
        first = lap()
        laps = Laps()
        laps.add(*(lap() if self._clock() < until else first))
        while not laps.are_enough(error) and self._clock() < until:
            laps.add(*lap())
        return laps

    def _work(self, request: measuring.Request, number: int) -> Work:
        values = [unpack_inline(request.values[name]) for name in self._app.graph.inputs]
        return Work(Context(call_id=f"measure-{number + 1}"), values, lambda _: False)

    def _stage(self, name: str) -> StageSpec:
        if name not in self._app.graph.stages:
            raise RefusedError(f"no stage is called {name!r}; there are {', '.join(self._app.graph.stages)}")
        return self._app.stages[name].spec

    def _pin(self, cpu: float) -> None:
        """Run on so many cores from here on, with all threads that are made from here on."""
        os.sched_setaffinity(0, self._allowed[: max(1, math.ceil(cpu))])

    def _most_held(self) -> int:
        device = self._executor.device
        return device.most_held() if isinstance(device, Station) else 0


def _told(stages: Sequence[str], walked: Sequence[dict[str, Seen]]) -> measuring.Walked:
    units, out_bytes, grown = {}, {}, {}
    for name in stages:
        seen = [one.get(name, Seen()) for one in walked]
        units[name] = tuple(len(one.jobs) for one in seen)
        out_bytes[name] = fmean([one.out_bytes for one in seen if one.jobs] or [0.0])
        grown[name] = sum(one.grown for one in seen)
    return measuring.Walked(units, out_bytes, grown)


def _bytes(job: Job) -> int:
    """Return the bytes that a call's result takes on its way to another group; 0 of one that cannot travel."""
    try:
        value = pack(job.result, None)
    except RegrainError:
        return 0
    return len(value.skeleton) + sum(leaf.nbytes for leaf in value.leaves)


def serve(app: App, asks: BinaryIO, answers: BinaryIO, *, forked: float = 0.0) -> None:
    """Answer until the asks end.

    forked: when this process was made by a fork, as time.perf_counter has it; 0.0 if it was not.
    """
    bench = Bench(app, doing=lambda stage: _say(answers, measuring.Doing(stage)))
    seconds = time.perf_counter() - forked if forked else 0.0
    _say(answers, measuring.Ready(os.getpid(), seconds, unique_set_size()))
    for line in asks:
        _say(answers, bench.do(measuring.ask(line)))


def _say(answers: BinaryIO, answer: measuring.Answer) -> None:
    answers.write(measuring.encode(answer))
    answers.flush()


def main(target: str) -> int:
    """Measure the app of a module and return the exit code. As replicas do, it runs in a fork of what imported it."""
    answers = take_stdout()
    try:
        app = module.load(target)
        app.manifest()
        module.preload()
        if module.unforkable():
            serve(app, sys.stdin.buffer, answers)
            return 0
        return _fork(lambda forked: serve(app, sys.stdin.buffer, answers, forked=forked))
    except RegrainError as error:
        print(f"regrain: {error}", file=sys.stderr)  # noqa: T201 - the last word of a process that cannot go on
        return 2


def _fork(work: Callable[[float], None]) -> int:
    """Do work in a fork, told when it was made; return its exit code."""
    gc.collect()
    gc.freeze()
    forked = time.perf_counter()

    def measure() -> int:
        reseed()
        begin()
        work(forked)
        return 0

    pid = os.fork()
    if not pid:
        live(measure)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
