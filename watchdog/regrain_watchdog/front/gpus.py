"""The GPUs of the node as the front shares them out: an arbiter for each, and which replica is on which."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from msgspec import structs

from regrain.cards import PREFIX, parse_gpus
from regrain.errors import RequestError, SpecError
from regrain.manifest import Manifest
from regrain.plan import GpuShare, Group, Plan
from regrain.wire import frames
from regrain.wire.lease import Share
from regrain_watchdog.front import books
from regrain_watchdog.front.arbiters import MPS, Far, arbiters, ending
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.survey import EMULATED, LEASE, MIG, Found, devices, wanted
from regrain_watchdog.gpu.ending import End
from regrain_watchdog.gpu.limits import HANG
from regrain_watchdog.policy import place
from regrain_watchdog.policy.place import Room
from regrain_watchdog.policy.resident import PLAN, kept

logger = logging.getLogger(__name__)

MIB = 1 << 20
WHOLE = (LEASE, MIG)
"""Backends whose every lease is for a whole device."""


Fixed = tuple[float, int, int] | None
"""Of a share: fraction, memory in bytes, and priority, where they cannot change."""


@dataclass(frozen=True, slots=True)
class Held:
    """What some have of a device: SM-seconds so far, the part of them that floors reserve, bytes that they declare."""

    sm_seconds: float
    floor: float
    memory: int


class Gpus:
    """GPUs, and the replicas that have a share of one.

    app: its name, before that of a function in the arbiter's books. backend: how leases are carried out.
    folder: where arbiters serve already, several fronts share; "" to serve our own.
    scenario: the file that says what stages stand for on emulated GPUs.
    manifest: of the app: what the stages that a replica has loaded declare is counted, and one that keeps any of a GPU
    has a share though its group needs none.

    A MIG instance is a device of its own, which one replica has to itself: it reserves all of its SM-seconds. Under
    `lease` processes take turns on the whole GPU, so each lease is for all of it, whatever its share.

    Attributes:
        keeps: which stages replicas keep loaded beside their group's (policy/resident.py); plans are held against that.
    """

    def __init__(
        self,
        app: str,
        cards: Sequence[Found],
        *,
        folder: str,
        backend: str,
        scenario: str = "",
        manifest: Manifest | None = None,
        keeps: str = PLAN,
        hang: float = HANG,
    ) -> None:
        self.cards = tuple(cards)
        self._app = app
        self._backend = backend
        self._declared: dict[str, int | None] = {}
        if manifest is not None:
            self.follow(manifest)
        self.keeps = keeps
        self._scenario = str(Path(scenario).absolute()) if scenario else ""
        self._own = tempfile.TemporaryDirectory(prefix="regrain-gpu-") if not folder else None
        paths = [Path(folder or self._own_folder) / f"gpu{number}.sock" for number in range(len(self.cards))]
        self.arbiters = arbiters(backend, self.cards, paths, far=bool(folder), hang=hang)
        self.end: End = ending(backend)
        self._seats: dict[int, tuple[int, GpuShare, str]] = {}
        self._preferred: dict[str, list[int]] = {}

    @property
    def _own_folder(self) -> str:
        return self._own.name if self._own is not None else ""

    def follow(self, manifest: Manifest) -> None:
        """Count from here on what the stages of this version of the app declare."""
        self._declared = {
            stage.name: stage.gpu.memory if stage.gpu is not None else None for stage in manifest.stages
        }

    async def start(self) -> None:
        """Serve the arbiters, or find those that serve already; LeaseError where that cannot be.

        SpecError where a device is another than the settings say.
        """
        for arbiter, card in zip(self.arbiters, self.cards, strict=True):
            if isinstance(arbiter, Far):
                await arbiter.begin()
            else:
                arbiter.start()
            found = arbiter.status()
            if (found.sms, found.memory) != (card.sms, card.memory):
                has = f"{found.sms} SMs and {found.memory // MIB} MiB"
                raise SpecError(f"gpus says {card.name}, the device of {arbiter.path} has {has}")

    def stop(self) -> None:
        """Serve them no more."""
        for arbiter in self.arbiters:
            arbiter.stop()
        if self._own is not None:
            self._own.cleanup()

    def status(self) -> list[dict[str, object]]:
        """Return what the status tells of each device: the card, and its arbiter's books."""
        return [
            {
                "gpu": number,
                "card": card.name,
                "part": card.part,
                "path": str(arbiter.path),
                **books.named(arbiter.status()),
            }
            for number, (card, arbiter) in enumerate(zip(self.cards, self.arbiters, strict=True))
        ]

    def check(self, plan: Plan) -> None:
        """Refuse (SpecError) a plan that these GPUs could not hold if they had nothing else."""
        empty = self._empty()
        for group in plan.groups:
            share = self._reserved(group)
            if share is None:
                continue
            if place.choose(empty, share) is None:
                slices = f" and {share.fraction:g} of one" if self._backend == MIG else ""
                raise SpecError(
                    f"{books.needs(group, share)}{slices}, which fits on none; {self._have(empty)}"
                )
            if self._backend == EMULATED and group.gpu is not None:
                for card in parse_gpus(PREFIX + ",".join(one.name for one in self.cards)):
                    card.check_lease(group.name, group.gpu.fraction)
        if place.place(empty, [share for _, share in self._shares(plan, None)]) is None:
            pairs = [(group, self._reserved(group)) for group in plan.groups]
            wanted = ", ".join(books.needs(group, share) for group, share in pairs if share is not None)
            raise SpecError(
                f"the replicas of {plan.grain} do not fit together: {wanted}; {self._have(empty)}"
            )

    def has_room(self, plan: Plan, missing: Mapping[str, int]) -> bool:
        """Whether a plan's replicas that are missing, by group, fit beside what there is."""
        return place.place(self.rooms(), [share for _, share in self._shares(plan, missing)]) is not None

    def hold(self, *plans: Plan) -> bool:
        """Whether all replicas of some plans fit together once our others have gone."""
        shares = [share for plan in plans for _, share in self._shares(plan, None)]
        return place.place(self.without_ours(), shares) is not None

    def check_room(self, plan: Plan, missing: Mapping[str, int] | None = None) -> None:
        """Refuse (RequestError, 409) replicas, all of a plan by default, that do not fit beside what there is.

        Where they fit, but not if each goes where most is free, they are seated as they fit.
        """
        rooms, shares = self.rooms(), self._shares(plan, missing)
        devices = place.place(rooms, [share for _, share in shares])
        if devices is not None and not place.spreads(rooms, [share for _, share in shares]):
            self._preferred = {}
            for (group, _), device in zip(shares, devices, strict=True):
                self._preferred.setdefault(group, []).append(device)
        if devices is None:
            held = books.held([arbiter.status() for arbiter in self.arbiters])
            detail = (
                f"the GPUs have no room for {plan.grain} beside what runs; {self._have(rooms)}; held: {held}"
            )
            raise RequestError(HTTPStatus.CONFLICT, detail)

    def others(self) -> list[Held]:
        """Return what the replicas of other apps have of each device."""
        found = []
        for arbiter in self.arbiters:
            status = arbiter.status()
            members = [one for one in status.members if not self._is_ours(one.name)]
            found.append(
                Held(
                    sm_seconds=sum(one.sm_seconds for one in status.usage if not self._is_ours(one.name)),
                    floor=sum(one.share.floor for one in members),
                    memory=sum(one.share.memory for one in members),
                )
            )
        return found

    def rooms(self) -> list[Room]:
        """Return what each device has left beside our replicas and those of other apps."""
        rooms = self.without_ours()
        for device, share, _ in self._seats.values():
            rooms[device] = rooms[device].less(share)
        return rooms

    def without_ours(self) -> list[Room]:
        """Return what each device has left beside the replicas of other apps, and what others hold undeclared."""
        return [
            books.beside_others(room, arbiter.status(), self._is_ours)
            for room, arbiter in zip(self._empty(), self.arbiters, strict=True)
        ]

    def check_loads(self, loads: Mapping[int, tuple[Group, Collection[str]]]) -> None:
        """Refuse (RequestError, 409) that living replicas have these stages loaded, which their GPUs have no room for.

        loads: by number the group of a replica, and all stages that it is to have.
        """
        rooms = self.without_ours()
        for number, (group, stages) in sorted(loads.items(), key=lambda load: load[0] not in self._seats):
            share, seat = self._reserved(group, stages), self._seats.get(number)
            if share is None:
                continue
            device = seat[0] if seat is not None else place.choose(rooms, share)
            is_more = seat is None or share.memory > seat[1].memory
            if seat is not None and is_more and self.fixed(number) is not None:
                reason = "under MPS a process keeps the memory that it began with"
                detail = f"{books.needs(group, share)} to keep these stages; {reason}"
                raise RequestError(HTTPStatus.CONFLICT, detail)
            if device is None or (is_more and not rooms[device].fits(share)):
                detail = f"{books.needs(group, share)} to keep these stages; {self._have(rooms)}"
                raise RequestError(HTTPStatus.CONFLICT, detail)
            rooms[device] = rooms[device].less(share)

    def seat(
        self, replica: int, group: Group, stages: Collection[str] | None = None
    ) -> frames.Entitle | None:
        """Give a new replica a device; None if it needs none, or none has room (it then says so when it loads).

        stages: that it is to load; those that replicas of its group keep where nothing is said.
        """
        wanted = self._reserved(group, stages)
        if wanted is None:
            return None
        rooms, preferred = self.rooms(), self._preferred.get(group.name, [])
        device = next((one for one in preferred if rooms[one].fits(wanted)), None)
        if device is not None:
            preferred.remove(device)
        else:
            device = place.choose(rooms, wanted)
        if device is None:
            logger.warning("no GPU has room for another replica of %s", group.name)
            device = 0
        self._seats[replica] = (device, wanted, group.name)
        return self._entitle(device, group, wanted)

    def prefer(self, placement: Mapping[str, Sequence[int]]) -> None:
        """Seat further replicas on these GPUs, by group, as far as there is room; one for each time it is named."""
        self._preferred = {group: list(devices) for group, devices in placement.items()}

    def move(
        self, replica: int, group: Group, stages: Collection[str] | None = None
    ) -> frames.Entitle | None:
        """Say what a replica is entitled to that serves another group now, or has these stages: where it is, if it is.

        None where that is what it has. On its device it stays, if only with nothing, and with what is fixed.
        """
        seat, wanted = self._seats.get(replica), self._reserved(group, stages)
        if seat is None:
            return self.seat(replica, group, stages)
        wanted = wanted or GpuShare()
        if (fixed := self.fixed(replica)) is not None:
            fraction, memory, priority = fixed
            wanted = structs.replace(wanted, fraction=fraction, memory=memory, priority=priority)
        if seat[1:] == (wanted, group.name):
            return None
        self._seats[replica] = (seat[0], wanted, group.name)
        return self._entitle(seat[0], group, wanted)

    def fixed(self, replica: int) -> Fixed:
        """Return what a replica keeps of its share until its process ends: under MPS what it began with, else None."""
        return self._fixed(self._seats[replica][1] if replica in self._seats else None)

    def is_enough(self, replica: int, group: Group) -> bool:
        """Whether what is fixed of a replica's share is as if it had begun for a group, or with memory to spare."""
        fixed, needed = self.fixed(replica), self._fixed(self._reserved(group))
        if fixed is None or needed is None:
            return fixed == needed
        return needed == (fixed[0], min(fixed[1], needed[1]), fixed[2])

    def device(self, replica: int) -> int:
        """Return the device that a replica is on; 0 where it is on none."""
        return self._seats[replica][0] if replica in self._seats else 0

    def leave(self, replica: int) -> None:
        """A replica has ended."""
        self._seats.pop(replica, None)

    def _entitle(self, device: int, group: Group, gpu: GpuShare) -> frames.Entitle:
        lanes = {lane.stage: lane.fraction for lane in group.fluid.lanes} if group.fluid else {}
        return frames.Entitle(
            path=str(self.arbiters[device].path),
            name=f"{self._app}/{group.name}",
            backend=self._backend,
            device=device,
            fraction=1.0 if self._backend in WHOLE else gpu.fraction,
            share=Share(
                weight=gpu.weight,
                floor=gpu.floor,
                ceiling=gpu.ceiling,
                priority=gpu.priority,
                memory=gpu.memory,
            ),
            card=self.cards[device].name,
            scenario=self._scenario,
            uuid=self.cards[device].uuid,
            fractions={} if self._backend in WHOLE else lanes,
        )

    def _fixed(self, share: GpuShare | None) -> Fixed:
        if self._backend != MPS or share is None:
            return None
        return share.fraction, share.memory, share.priority

    def _is_ours(self, name: str) -> bool:
        return name.startswith(f"{self._app}/")

    def _empty(self) -> list[Room]:
        return [Room(card.memory, part=card.part) for card in self.cards]

    def _reserved(self, group: Group, stages: Collection[str] | None = None) -> GpuShare | None:
        """Return what a replica of a group reserves; None where nothing that it has loaded needs a GPU.

        stages: that it has; those that it keeps where nothing is said.
        """
        names = kept(self.keeps, group.stages, tuple(self._declared)) if stages is None else stages
        declared = [bytes_ for name in names if (bytes_ := self._declared.get(name)) is not None]
        if group.gpu is None and not declared:
            return None
        share = group.gpu or GpuShare()
        share = structs.replace(share, memory=max(share.memory, sum(declared)))
        return structs.replace(share, floor=1.0, ceiling=1.0) if self._backend == MIG else share

    def _shares(self, plan: Plan, missing: Mapping[str, int] | None) -> list[tuple[str, GpuShare]]:
        """Return a share for each replica, with its group's name."""
        return [
            (group.name, share)
            for group in plan.groups
            if (share := self._reserved(group)) is not None
            for _ in range(group.replicas if missing is None else missing.get(group.name, 0))
        ]

    def _have(self, rooms: Sequence[Room]) -> str:
        return books.left([card.name for card in self.cards], rooms)


async def open_gpus(app: str, config: Config, plan: Plan, manifest: Manifest | None = None) -> Gpus | None:
    """Serve the arbiters of the GPUs that the settings or else their scenario name; None without any.

    Raises:
        SpecError: a setting is none, or the plan could not be held, alone or beside what other apps hold.
        LeaseError: no arbiter serves where the settings say.
    """
    named = wanted(config)
    if not named:
        return None
    backend, found = await devices(named)
    gpus = Gpus(
        app,
        found,
        folder=config.gpu_folder,
        backend=backend,
        scenario=config.scenario,
        manifest=manifest,
        keeps=config.resident,
        hang=config.gpu_hang_timeout,
    )
    try:
        gpus.check(plan)
        await gpus.start()
        gpus.check_room(plan)
    except RequestError as error:
        gpus.stop()
        raise SpecError(error.detail) from error
    except BaseException:
        gpus.stop()
        raise
    return gpus
