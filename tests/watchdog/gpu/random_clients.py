"""Random clients around an arbiter, in a time of their own.

A worker holds each lease for some time, over what it promised now and then, and asks anew: at once (renewing) or after
a pause. Others come, die and lose their connection meanwhile.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from regrain.wire.lease import Ask, Granted, LeaseError, Revoked, Share
from regrain_watchdog.gpu.arbiter import Arbiter, End, Tell
from regrain_watchdog.gpu.limits import Device, Limits

SMS, MEMORY, EPOCH = 80, 1000, 3


@dataclass(eq=False)
class Worker:
    """One client, which joins at some time.

    gap: seconds from its release to its next ask, where it does not renew; `pause` the mean of a random one.
    overrun: how often it holds for up to three times as long as it said. mortal: how often it dies.
    """

    width: float
    quantum: float
    share: Share
    pause: float = 0.0
    gap: float = 0.0
    overrun: float = 0.0
    mortal: float = 0.0
    joins: float = 0.0
    number: int = 0
    since: float = 0.0
    waiting: bool = False
    lease: int = 0
    sms: int = 0
    held: list[tuple[float, float, int]] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)

    @property
    def service(self) -> float:
        """SM-seconds that it held, by its own record."""
        return sum((end - start) * sms for start, end, sms in self.held)

    @property
    def lease_service(self) -> float:
        """SM-seconds of one lease as it is granted."""
        return int(self.width * SMS + 1e-6) * self.quantum

    def had(self, start: float, end: float) -> float:
        """SM-seconds that it held between two times."""
        return sum(max(0.0, min(end, till) - max(start, since)) * sms for since, till, sms in self.held)

    def ask(self) -> Ask:
        return Ask(1, self.width, self.quantum, memory=self.share.memory)


class World:
    """Workers around an arbiter, in a time of their own. Checks at each step, and between two, what must hold."""

    def __init__(self, workers: list[Worker], limits: Limits, seed: int = 0) -> None:
        self.arbiter = Arbiter(Device(sms=SMS, memory=MEMORY), epoch=EPOCH, limits=limits)
        self.limits = limits
        self.rng = random.Random(seed)
        self.now = 0.0
        self.events: list[tuple[float, int, str, Worker]] = []
        self.count = 0
        self.workers: dict[int, Worker] = {}
        self.last_lease = 0
        for worker in workers:
            self.at(worker.joins + self.rng.uniform(0, worker.pause), "join", worker)

    def at(self, time: float, what: str, worker: Worker) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, what, worker))

    def run(self, until: float) -> None:
        while True:
            wake = self.arbiter.wake(self.now)
            next_event = self.events[0][0] if self.events else until
            time = min(next_event, until if wake is None else wake, until)
            if not (self.count % 4 or any(one.pause or one.gap for one in self.workers.values())):
                assert self.arbiter.schedule((self.now + time) / 2) == []  # it said so; nobody is expected
            self.now = time
            if time >= until:
                break
            if self.events and self.events[0][0] <= time:
                _, _, what, worker = heapq.heappop(self.events)
                getattr(self, f"do_{what}")(worker)
            self.decide()
            self.check()
        for worker in self.workers.values():
            if worker.lease:
                worker.held.append((worker.since, self.now, worker.sms))
            if worker.waiting:
                worker.waits.append((worker.since, self.now))

    def do_join(self, worker: Worker) -> None:
        try:
            worker.number = self.arbiter.register("w", worker.share, pid=id(worker), now=self.now)
        except LeaseError:
            return
        self.workers[worker.number] = worker
        self.do_ask(worker)

    def do_ask(self, worker: Worker) -> None:
        if worker.number in self.workers:
            self.arbiter.ask(worker.number, worker.ask(), self.now)
            worker.since, worker.waiting = self.now, True

    def do_finish(self, worker: Worker) -> None:
        if worker.number not in self.workers or not worker.lease:
            return
        if self.rng.random() < worker.mortal:
            self.do_die(worker)
            return
        worker.held.append((worker.since, self.now, worker.sms))
        lease, worker.lease, worker.sms = worker.lease, 0, 0
        if away := worker.gap + (self.rng.expovariate(1 / worker.pause) if worker.pause else 0.0):
            self.arbiter.release(worker.number, EPOCH, lease, self.now)
            self.at(self.now + away, "ask", worker)
        else:
            self.arbiter.renew(worker.number, EPOCH, lease, worker.ask(), self.now)
            worker.since, worker.waiting = self.now, True
        with pytest.raises(LeaseError):
            self.arbiter.release(worker.number, EPOCH, lease, self.now)

    def do_die(self, worker: Worker) -> None:
        if worker.lease:
            worker.held.append((worker.since, self.now, worker.sms))
        worker.lease, worker.sms, worker.waiting = 0, 0, False
        self.arbiter.lost(worker.number, self.now)
        self.arbiter.gone(worker.number, self.now)
        del self.workers[worker.number]
        self.arbiter.memory_seen({id(each): each.share.memory for each in self.workers.values()})
        self.at(self.now + self.rng.uniform(0, 1), "join", worker)

    def decide(self) -> None:
        decisions = self.arbiter.schedule(self.now)
        for decision in decisions:
            worker = self.workers[decision.client]
            match decision:
                case Tell(_, Granted() as grant):
                    self.granted(worker, grant)
                case Tell(_, Revoked() as told):
                    assert told.lease == worker.lease
                case End():
                    assert self.now > worker.since + worker.quantum + self.limits.hang
                    self.do_die(worker)
        if any(isinstance(decision, End) for decision in decisions):
            self.decide()

    def granted(self, worker: Worker, grant: Granted) -> None:
        assert grant.lease > self.last_lease
        self.last_lease = grant.lease
        worker.waits.append((worker.since, self.now))
        worker.lease, worker.sms, worker.since, worker.waiting = grant.lease, grant.sms, self.now, False
        longer = 1 + 2 * self.rng.random() if self.rng.random() < worker.overrun else self.rng.uniform(0.5, 1)
        self.at(self.now + longer * worker.quantum, "finish", worker)

    def check(self) -> None:
        status = self.arbiter.status(self.now)
        held = sum(worker.sms for worker in self.workers.values())
        assert held <= SMS
        assert status.free_sms == SMS - held
        declared = sum(worker.share.memory for worker in self.workers.values())
        assert declared <= MEMORY
        assert status.free_memory == MEMORY - declared


def shares(**fixed) -> st.SearchStrategy[Share]:
    known = {"weight": st.sampled_from([0.5, 1.0, 3.0]), "priority": st.integers(0, 2)}
    return st.builds(Share, **(known | fixed))


def workers(
    share: st.SearchStrategy[Share], *, most: int = 6, **fixed: st.SearchStrategy[float]
) -> st.SearchStrategy[list[Worker]]:
    known = {
        "width": st.sampled_from([0.1, 0.25, 0.4, 0.5, 0.8, 1.0]),
        "quantum": st.sampled_from([0.01, 0.02, 0.05]),
        "pause": st.sampled_from([0.0, 0.0, 0.01, 0.1]),
    }
    return st.lists(st.builds(Worker, share=share, **(known | fixed)), min_size=1, max_size=most)


seeds = st.integers(0, 2**32)
