"""Whether a plan fits on a node, and on which GPU each replica goes: its share and memory lie on one of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from msgspec import structs

from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.policy.cost import Node, gpu_memory, gpu_weights, memory
from regrain_watchdog.policy.place import Room, place
from regrain_watchdog.policy.profile import Profile

Placement = tuple[tuple[int, ...], ...]
EXACT = 1e-9


def pack(plan: Plan, profile: Profile, node: Node) -> Placement | None:
    """Return the GPU of each replica by group (of each part of a fluid group's share); None where they do not fit."""
    return pack_together([(plan, profile)], node)


def pack_together(plans: Sequence[tuple[Plan, Profile]], node: Node) -> Placement | None:
    """Return the GPUs of the replicas of several apps' plans, group after group; None if they do not all fit."""
    groups = [(group, profile) for plan, profile in plans for group in plan.groups]
    if shortage(groups, node):
        return None
    parts = [gpu_parts(group, profile) for group, profile in groups]
    seats = place([Room(card.memory) for card in node.cards], [share for shares in parts for share in shares])
    if seats is None:
        return None
    given = iter(seats)
    return tuple(tuple(next(given) for _ in shares) for shares in parts)


def shortage(groups: Sequence[tuple[Group, Profile]], node: Node) -> str:
    """Return what of cores and main memory groups need beyond what a node has, as a phrase; "" where both suffice."""
    cores = sum(group.replicas * group.cpu for group, _ in groups)
    if cores > node.cores + EXACT:
        return f"{cores:g} cores where the node has {node.cores:g}"
    held = sum(group.replicas * memory(group, profile) for group, profile in groups)
    if held > node.memory:
        return f"{held >> 20} MiB of memory where the node has {node.memory >> 20}"
    return _lacking_pods(groups, node) if node.pods > 1 else ""


def pods_of(group: Group, profile: Profile, node: Node) -> int:
    """Return how many of a node's pods a group takes; 0 where none of them holds even one of its replicas."""
    held = max(memory(group, profile), 1)
    most = min(
        node.cores / node.pods / group.cpu + EXACT if group.cpu else inf, node.memory // node.pods // held
    )
    each = int(min(most, group.replicas))
    share = gpu_parts(structs.replace(group, replicas=1), profile)
    rooms = [Room(card.memory) for card in node.cards[: len(node.cards) // node.pods]]
    while each and place(rooms, share * each) is None:
        each -= 1
    return -(-group.replicas // each) if each else 0


def _lacking_pods(groups: Sequence[tuple[Group, Profile]], node: Node) -> str:
    taken = [pods_of(group, profile, node) for group, profile in groups]
    for (group, _), count in zip(groups, taken, strict=True):
        if group.replicas and not count:
            return f"more for a replica of {group.name} than a pod has"
    return f"{sum(taken)} pods where there are {node.pods}" if sum(taken) > node.pods else ""


def gpu_parts(group: Group, profile: Profile) -> list[GpuShare]:
    """Return what a group asks of GPUs, each on one of them: its replicas, or the parts of a fluid group's share.

    Each part of a fluid group's share holds its weights once, and the replicas that go with its size.
    """
    if group.gpu is None:
        return []
    beside, weights = gpu_memory(group, profile), gpu_weights(group, profile)
    if group.fluid is None:
        share = GpuShare(fraction=group.gpu.fraction, memory=beside + weights, floor=group.gpu.fraction)
        return [share] * group.replicas
    whole, rest = divmod(group.fluid.share, 1.0)
    parts = [1.0] * int(whole) + [rest] * (rest > EXACT)
    each = [-(-group.replicas * part // group.fluid.share) for part in parts]
    return [
        GpuShare(fraction=part, memory=weights + int(count) * beside, floor=part)
        for part, count in zip(parts, each, strict=True)
    ]
