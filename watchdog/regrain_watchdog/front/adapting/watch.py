"""What a front sees of the load and of its stages, as it reports it to whoever decides on the plan."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain_watchdog.front.adapting.others import Others
from regrain_watchdog.front.adapting.tally import Tally
from regrain_watchdog.front.adapting.words import Device, Report
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.live import Live
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.replica import State
from regrain_watchdog.policy.resident import Living


@dataclass(frozen=True, slots=True)
class _Counted:
    """Requests that have ended so far."""

    hits: int
    misses: int


class Watch:
    """Notes what happens from `start` on, and reports it.

    live, measure: of the app. gpus: of the node; None without any.
    """

    def __init__(self, live: Live, measure: Measure, gpus: Gpus | None) -> None:
        self._live = live
        self._measure = measure
        self._tally = Tally()
        self._gpus = gpus
        self._others = Others(gpus)
        self._counted = _Counted(0, 0)

    def start(self) -> None:
        """Begin to note what arrives."""
        self._measure.tally = self._tally
        self._count()

    def stop(self) -> None:
        """Note nothing more."""
        self._measure.tally = None

    def report(self, *, is_changing: bool = False) -> Report:
        """Return what happened since the report before; `is_changing`: whether a change is about to begin."""
        taken = self._tally.take()
        before, after = self._counted, self._count()
        app = self._live.current
        is_changing = is_changing or self._live.is_changing
        now = time.monotonic()
        return Report(
            now=now,
            at=taken.at,
            size=taken.size,
            first=taken.first,
            widened=taken.widened,
            hits=after.hits - before.hits,
            misses=after.misses - before.misses,
            plan=app.route.plan,
            living=tuple(
                Living(replica.number, replica.home.seat.name, replica.resident, self._fixed(replica.number))
                for replica in app.crew.replicas
                if replica.state is State.READY
            ),
            is_changing=is_changing,
            is_held=self._live.held,
            seen=() if is_changing else taken.seen(shares(app.route.plan, app.manifest)),
            taken=self._others.look(now),
        )

    def _fixed(self, replica: int) -> float | None:
        fixed = self._gpus.fixed(replica) if self._gpus is not None else None
        return fixed[0] if fixed is not None else None

    def _count(self) -> _Counted:
        self._counted = _Counted(*self._measure.ended())
        return self._counted


def shares(plan: Plan, manifest: Manifest) -> Mapping[tuple[str, str], float]:
    """Return by queue and stage what it runs with: the share of a GPU if it needs one, else the cores it declares.

    Groups that other pods run are left out: those report them.
    """
    return {
        (queue.name, stage): queue.gpu.fraction
        if queue.gpu is not None and manifest.stage(stage).gpu is not None
        else manifest.stage(stage).cpu
        for queue in plan.queues
        if queue.replicas
        for stage in queue.stages
    }


def devices(gpus: Gpus | None) -> tuple[Device, ...]:
    """Return the GPUs of a node."""
    cards = gpus.cards if gpus is not None else ()
    return tuple(Device(card.name, card.sms, card.memory, card.part) for card in cards)


def cores(config: Config) -> int:
    """Return the cores that plans may use."""
    return config.cores or len(os.sched_getaffinity(0))


def memory() -> int:
    """Return the bytes of main memory that the machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
