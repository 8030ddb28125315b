"""What a plan costs: what it reserves, used or not, times its price.

The cost of serving is the integral of this rate over time (both plans count during a change of grain), plus a price per
request and per byte between nodes, divided by the requests that were offered.
"""

from __future__ import annotations

from msgspec import Struct

from regrain.cards import Card
from regrain.plan import Group, Plan
from regrain_watchdog.policy.profile import Profile

HOUR = 3600.0
GIB = 1 << 30


class Prices(Struct, frozen=True, kw_only=True):
    """Dollars. The defaults are AWS on-demand prices by resource; docs/cost.md tells where they are from.

    Attributes:
        core: of a core, an hour.
        memory: of a GiB of main memory, an hour.
        gpu: of a whole GPU, an hour; 0 for what the card's type says.
        request: of a request.
        transfer: of a GiB between nodes.
    """

    core: float = 0.0357
    memory: float = 0.0034
    gpu: float = 0.0
    request: float = 2e-7
    transfer: float = 0.01


class Node(Struct, frozen=True, kw_only=True):
    """What one machine has: GPUs, cores, bytes of memory.

    pods: equal parts of it, each of which runs replicas of one group; 1 where any replica may run anywhere.
    """

    cards: tuple[Card, ...] = ()
    cores: float = 1.0
    memory: int = GIB
    pods: int = 1


def gpu_memory(group: Group, profile: Profile) -> int:
    """Return the bytes of a GPU that a replica of a group holds beside its weights: its context and largest batch."""
    stages = [profile.stages[stage] for stage in group.stages if profile.stages[stage].on_gpu]
    if not stages:
        return 0
    sizes = {lane.stage: lane.max_size for lane in group.fluid.lanes} if group.fluid is not None else {}
    work = max(
        profile.stages[stage].activation * sizes.get(stage, group.max_size)
        for stage in group.stages
        if profile.stages[stage].on_gpu
    )
    return profile.context + work


def gpu_weights(group: Group, profile: Profile) -> int:
    """Return the bytes of a GPU that the models of a group's stages take, once."""
    return sum(profile.stages[stage].weights for stage in group.stages if profile.stages[stage].on_gpu)


def memory(group: Group, profile: Profile) -> int:
    """Return the bytes of main memory that a replica of a group holds."""
    stages = [profile.stages[stage] for stage in group.stages if not profile.stages[stage].on_gpu]
    return profile.resident + sum(stage.weights for stage in stages)


def reserved(group: Group, profile: Profile, card: Card) -> float:
    """Return how much of whole GPUs a group reserves with all its replicas: of SMs or of memory, whichever is more.

    Every replica holds its own weights; those of a fluid group, which live off holding them once, share one copy. On
    slices of a GPU each replica has one to itself, of which `card` is the smallest.
    """
    if group.gpu is None:
        return 0.0
    beside, weights = gpu_memory(group, profile), gpu_weights(group, profile)
    each = card.part / card.memory
    if group.fluid is not None:
        held = (group.replicas * beside + weights) * each
        return max(group.fluid.share, held, group.replicas * card.least)
    return group.replicas * max(group.gpu.fraction, (beside + weights) * each, card.least)


def group_rate(group: Group, profile: Profile, prices: Prices, card: Card | None) -> float:
    """Return the dollars a second that a group's replicas cost."""
    gpu = reserved(group, profile, card) * (prices.gpu or card.price) if card is not None else 0.0
    each = group.cpu * prices.core + memory(group, profile) / GIB * prices.memory
    return (gpu + group.replicas * each) / HOUR


def rate(plan: Plan, profile: Profile, prices: Prices, card: Card | None) -> float:
    """Return the dollars a second that a plan costs.

    Args:
        plan: its groups' replicas, shares and cores count.
        profile: of its app.
        prices: in dollars an hour.
        card: the type of the node's GPUs; None where there are none.
    """
    return sum(group_rate(group, profile, prices, card) for group in plan.groups)
