"""What an arbiter's books say of a GPU: what is left of it for an app, and in words who has the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec import structs

from regrain.plan import GpuShare, Group
from regrain.wire.lease import Member, Status
from regrain_watchdog.policy.place import Room

MIB = 1 << 20


def beside_others(room: Room, status: Status, is_ours: Callable[[str], bool]) -> Room:
    """Return what an empty device has left beside what clients of other apps declare and what strangers hold.

    The arbiter's word for what is free counts, for it has seen them; what our own functions hold of it (`is_ours` by
    name), their dead processes too, is theirs to use again, and weights that nobody declares are for whoever comes.
    """
    for member in status.members:
        if not is_ours(member.name):
            room = room.less(GpuShare(memory=member.share.memory, floor=member.share.floor))
    ours = sum(one.held for one in status.usage if is_ours(one.name))
    return replace(room, memory=max(0, min(room.memory, status.free_memory + ours + status.unclaimed)))


def named(status: Status) -> dict[str, object]:
    """Return an arbiter's status with the names of its fields, as JSON has it."""
    return {
        **structs.asdict(status),
        "members": [{**structs.asdict(one), "share": structs.asdict(one.share)} for one in status.members],
        "usage": [structs.asdict(one) for one in status.usage],
    }


def held(found: Sequence[Status]) -> str:
    """Say who has what of each device."""
    return ", ".join(
        f"GPU {number}: {holding}" for number, status in enumerate(found) for holding in _holdings(status)
    )


def left(cards: Sequence[str], rooms: Sequence[Room]) -> str:
    """Say what is left of each device, by the names of the cards."""
    said = ", ".join(
        f"GPU {number} ({card}) {room.memory // MIB} MiB and {room.floor:.3g} of its SMs{_slice(room)}"
        for number, (card, room) in enumerate(zip(cards, rooms, strict=True))
    )
    return f"there are left: {said}"


def needs(group: Group, share: GpuShare) -> str:
    """Say what a group's replicas need."""
    floor = group.gpu.floor if group.gpu is not None else 0.0
    reserved = f" and reserves {floor:g} of the SMs" if floor else ""
    replicas = "a replica" if group.replicas == 1 else f"each of {group.replicas} replicas"
    return f"{replicas} of {group.name} needs {share.memory // MIB} MiB of a GPU{reserved}"


def _holdings(status: Status) -> list[str]:
    said = [_holds(member) for member in status.members]
    declared = sum(member.share.memory for member in status.members)
    undeclared = status.memory - status.free_memory - declared
    return [*said, f"undeclared {undeclared // MIB} MiB"] if undeclared >= MIB else said


def _holds(member: Member) -> str:
    reserved = f" and {member.share.floor:g} of the SMs" if member.share.floor else ""
    return f"{member.name} (process {member.pid}) {member.share.memory // MIB} MiB{reserved}"


def _slice(room: Room) -> str:
    return f", which are {room.part:.3g} of a GPU" if room.part < 1 else ""
