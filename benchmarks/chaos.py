"""Kill replicas and change the grain of an app under half of its load: nothing may fail, nothing may be left behind.

hello and vision, two replicas per group: one is killed every five seconds, with and without changes of grain by turns.
OCR, one replica per group: changes alone. Open loop at 50 % of the capacity of the first grain, deadline ten seconds.
hello has one stage and so one grain, however it is written. The long form takes about eleven minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import random
import signal
import statistics
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TypeVar

from benchmarks import machine, open_loop, processes, product
from benchmarks.admin import Admin, Change, Changer, gauge
from benchmarks.record import Results, arguments, progress, table

LOAD = 0.5
DEADLINE = "10s"
KILL_EVERY = 5.0
CHANGES, CHANGES_ALONE = 100, 20
"""Over all rounds: of hello and of vision, and of OCR, which has one round."""
SLOWER = 1.5
"""p99 with changes over p99 without, at most."""
GROWTH = 1.05
"""PSS after the later visits over that after the earlier ones, medians, at most: it is flat."""
SHORT = 2.0
"""Seconds of a load of the short form, which kills every second."""
SETTLING = 10.0
"""Seconds in which what a visit used must have been given back."""
WARM_UP = 0.5
SHM = Path("/dev/shm")
T = TypeVar("T")

Ports = tuple[int, int, int]
"""Of the app, its admin and its metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An app, what it is asked, and the grains that it changes between; it starts with the first.

    Attributes:
        essence: what of an answer must be the same each time.
        replicas: of each group.
        kills: whether replicas are killed; then visits without changes take turns with those with.
    """

    name: str
    body: bytes
    grains: tuple[str, ...]
    essence: Callable[[bytes], object]
    kind: str = open_loop.OCTETS
    replicas: int = 2
    kills: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a server holds while it does nothing.

    Attributes:
        in_use: bytes of shared memory in use by the version that was loaded, all of its grains having been in force:
            what a request leaves behind shows here.
        held, segments, descriptors, shm, processes: of a version newly in force, so that nothing of one before it is
            kept for later: what a version leaves behind shows here. `held` in bytes.
    """

    in_use: float
    held: float
    segments: int
    descriptors: int
    shm: int
    processes: int

    def leaks(self, later: Level) -> int:
        """How many bytes, segments, descriptors and processes a later level has more."""
        return int(sum(max(0, getattr(later, name) - getattr(self, name)) for name in self.__slots__))


def main() -> None:
    options = arguments("chaos", __doc__ or "", rounds=4, seconds=30.0).parse_args()
    results = Results.open("chaos", options)
    if options.short:
        options.seconds = SHORT
    for case in _cases():
        if not all(results.has(app=case.name, **key) for key in _visits(case, options.rounds)):
            _measure(case, results, options)
    _report(results, short=options.short)


def _visits(case: Case, rounds: int) -> Iterator[dict[str, object]]:
    if not case.kills:
        yield {"round": 0, "changing": True}
        return
    for turn in range(rounds):
        for changing in (False, True) if turn % 2 == 0 else (True, False):
            yield {"round": turn, "changing": changing}


def _measure(case: Case, results: Results, options: argparse.Namespace) -> None:
    """Make the visits of a case that are not recorded yet, on one server."""
    with _serve(case) as (served, ports):
        _warm_up(case, ports)
        capacity = open_loop.closed(
            ports[0], case.body, connections=8, seconds=max(1.0, options.seconds / 10), kind=case.kind
        )
        wanted = case.essence(
            processes.Request(case.body, headers={"Content-Type": case.kind}).send(ports[0])[1]
        )
        before = _level(case, served, ports)
        results.add({"kind": "idle", "app": case.name, "pss_mib": _pss(served), **_fields(before)})
        visit = Visit(case, served, ports, wanted, options)
        for key in _visits(case, options.rounds):
            if results.has(app=case.name, **key):
                continue
            rng = random.Random(f"{options.seed} {case.name} {key}")
            progress(f"{case.name}: round {key['round']}, changing: {key['changing']}")
            _warm_up(case, ports)
            found = visit.make(capacity * LOAD, rng, changing=bool(key["changing"]))
            after = _level(case, served, ports, wanted=before)
            left = {"leaked": before.leaks(after), "pss_mib": _pss(served), **_fields(after)}
            results.add({"kind": "load", "app": case.name, **key, "capacity": capacity, **found, **left})


def _warm_up(case: Case, ports: Ports) -> None:
    open_loop.closed(ports[0], case.body, connections=8, seconds=WARM_UP, kind=case.kind)


class Visit:
    """Loads a server for a while, and says what became of the requests (ms), the changes (ms) and the replicas."""

    def __init__(
        self, case: Case, served: processes.Served, ports: Ports, wanted: object, options: argparse.Namespace
    ) -> None:
        self._case = case
        self._served = served
        self._ports = ports
        self._wanted = wanted
        self._seconds = options.seconds
        self._kill_every = 1.0 if options.short else KILL_EVERY
        changes = CHANGES / options.rounds if case.kills else CHANGES_ALONE
        self._changes = 3 if options.short else math.ceil(changes)

    def make(self, rate: float, rng: random.Random, *, changing: bool) -> dict[str, object]:
        case = self._case
        arrivals = [(at, case.body) for at in open_loop.poisson(rate, self._seconds, rng)]
        pause = self._seconds / self._changes / 10
        changer = Changer(self._ports[1], (*case.grains[1:], case.grains[0]), lambda: pause, self._changes)
        killer = Killer(self._ports[1], self._kill_every, rng)
        if changing:
            changer.start()
        if case.kills:
            killer.start()
        sent = open_loop.drive(self._ports[0], arrivals, kind=case.kind)
        changer.stop()
        killer.stop()
        return {**self._told(sent), **_changed(changer), "killed": killer.killed}

    def _told(self, sent: list[open_loop.Sent]) -> dict[str, object]:
        right = functools.cache(lambda answer: self._case.essence(answer) == self._wanted)
        good = [one.status == HTTPStatus.OK and right(one.answer) for one in sent]
        failures = Counter(
            f"{one.status} {one.answer[:200].decode(errors='replace')}"
            for one, is_good in zip(sent, good, strict=True)
            if not is_good
        )
        latencies = sorted(one.latency for one in sent)
        return {
            "requests": len(sent),
            "failed": len(sent) - sum(good),
            "failures": dict(failures.most_common(3)),
            "p50": latencies[len(latencies) // 2] * 1e3,
            "p99": latencies[len(latencies) * 99 // 100] * 1e3,
        }


class Killer:
    """Kills a replica that serves, any, now and then, in a thread of its own."""

    def __init__(self, port: int, every: float, rng: random.Random) -> None:
        self.killed = 0
        self._port = port
        self._every = every
        self._rng = rng
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, if it was begun."""
        self._end.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self._every):
            with contextlib.closing(Admin(self._port)) as admin:
                living = admin.replicas()
            if living:
                with contextlib.suppress(ProcessLookupError):  # it ended with its plan since
                    os.kill(self._rng.choice(living), signal.SIGKILL)
                    self.killed += 1


def _changed(changer: Changer) -> dict[str, object]:
    took = changer.took
    return {
        "changes": len(took),
        "refused": len(changer.refused),
        "refusals": changer.refused[:3],
        "in_force": took[len(took) // 2] * 1e3 if took else None,
        "in_force_most": took[-1] * 1e3 if took else None,
    }


@contextlib.contextmanager
def _serve(case: Case) -> Iterator[tuple[processes.Served, Ports]]:
    port = processes.free_ports(3)
    ports = port, port + 1, port + 2
    flags = ["--admin-port", str(ports[1]), "--metrics-port", str(ports[2]), "--grpc-port", "off"]
    flags += ["--slo", DEADLINE, "--replicas", str(case.replicas)]
    command = [*product.command(product.EXAMPLES / case.name, port=port, grain=case.grains[0]), *flags]
    with processes.Served([command], port=port, name=f"chaos-{case.name}") as served:
        request = processes.Request(case.body, headers={"Content-Type": case.kind})
        served.wait(request, lambda data: case.essence(data) is not None)
        yield served, ports


def _level(case: Case, served: processes.Served, ports: Ports, *, wanted: Level | None = None) -> Level:
    """Put every grain in force, the first at last, then a new version; wait a while for the `wanted` level."""
    with contextlib.closing(Admin(ports[1])) as admin:
        for grain in (*case.grains[1:], case.grains[0]):
            _make(case, admin, admin.regrain(grain))
        in_use = _calm(lambda: _shared(ports, "in_use"), lambda seen: wanted is None or seen <= wanted.in_use)
        _make(case, admin, admin.update())
    return _calm(
        lambda: _held(served, ports, in_use), lambda level: wanted is None or not wanted.leaks(level)
    )


def _make(case: Case, admin: Admin, change: Change) -> None:
    if not change.is_made:
        raise SystemExit(
            f"{case.name}: {change.grain or 'an update'} was refused without load: {change.said}"
        )
    admin.settle()


def _calm(look: Callable[[], T], holds: Callable[[T], bool]) -> T:
    """Look until two looks in a row have seen the same, and it holds; return what was seen last."""
    seen = [look()]

    def again() -> T:
        seen.append(look())
        return seen[-1]

    return processes.until(again, lambda found: found == seen[-2] and holds(found), SETTLING)


def _held(served: processes.Served, ports: Ports, in_use: float) -> Level:
    pids = served.pids()
    return Level(
        in_use=in_use,
        held=_shared(ports, "held"),
        segments=processes.segments(pids),
        descriptors=processes.descriptors(pids),
        shm=len(list(SHM.iterdir())),
        processes=len(pids),
    )


def _shared(ports: Ports, state: str) -> float:
    return gauge(ports[2], "regrain_shared_memory_bytes", state=state)


def _fields(level: Level) -> dict[str, float]:
    return {name: getattr(level, name) for name in level.__slots__}


def _pss(served: processes.Served) -> float:
    return processes.memory(served.pids())[0] / machine.MEBIBYTE


def _cases() -> Iterator[Case]:
    import skimage  # for its pictures

    pictures = Path(skimage.__file__).parent / "data"
    yield Case(
        name="hello",
        body=b'{"name": "world"}',
        kind="application/json",
        grains=("fine", "coarse"),
        essence=lambda answer: answer,
    )
    yield Case(
        name="vision",
        body=(pictures / "coffee.png").read_bytes(),
        grains=(
            "fine",
            "coarse",
            "decode+prepare | classify | embed | join",
            "decode | prepare+classify+embed | join",
            "decode+prepare | classify+embed+join",
        ),
        essence=_described,
    )
    yield Case(
        name="ocr",
        body=(pictures / "page.png").read_bytes(),
        grains=("fine", "coarse", "decode+detect+crop | orient+recognise+assemble"),
        essence=lambda answer: json.loads(answer)["text"],
        replicas=1,
        kills=False,
    )


def _described(answer: bytes) -> object:
    """Of a picture's description what does not hang on how many are described together."""
    found = json.loads(answer)
    return found["label"]["name"], found["width"], found["height"]


def _report(results: Results, *, short: bool) -> None:
    names = {case.name: case for case in _cases()}
    fields = ("requests", "failed", "p50", "p99", "changes", "in_force", "killed", "leaked", "pss_mib")
    rows = [
        [
            name,
            changing,
            *(results.median(field, kind="load", app=name, changing=changing) for field in fields),
        ]
        for name, case in names.items()
        for changing in ((False, True) if case.kills else (True,))
    ]
    heads = [
        "requests",
        "failed",
        "p50 ms",
        "p99 ms",
        "changes",
        "in force ms",
        "killed",
        "leaked",
        "PSS MiB",
    ]
    print(table(["app", "changing", *heads], rows))
    for name, case in names.items():

        def total(field: str, name: str = name) -> float:
            return sum(results.values(field, kind="load", app=name))

        results.bar(f"{name}: requests that failed", total("failed"), at_most=0)
        least = 1 if short else CHANGES if case.kills else CHANGES_ALONE
        results.bar(f"{name}: changes that were made", total("changes"), at_least=least)
        results.bar(
            f"{name}: bytes, segments, descriptors and processes left behind", total("leaked"), at_most=0
        )
        if case.kills:
            _compare(results, name)


def _compare(results: Results, name: str) -> None:
    """Hold p99 with changes against that without in each round, and memory late in the run against early."""
    with_, without = (
        results.values("p99", kind="load", app=name, changing=changing) for changing in (True, False)
    )
    ratio = statistics.median(more / less for more, less in zip(with_, without, strict=True))
    results.bar(f"{name}: p99 over that of the same kills without changes", ratio, at_most=SLOWER)
    memory = results.values("pss_mib", kind="load", app=name)
    half = len(memory) // 2
    growth = statistics.median(memory[half:]) / statistics.median(memory[:half])
    results.bar(f"{name}: PSS of the later half of visits over the earlier", growth, at_most=GROWTH)


if __name__ == "__main__":
    main()
