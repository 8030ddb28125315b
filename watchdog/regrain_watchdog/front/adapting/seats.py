"""On which GPUs the replicas go that a plan lacks.

The controller places a plan as on empty GPUs. Live, some replicas stay where they are and have the shares of their next
groups there; the others go beside them, so that no GPU is given to more than it can do while another has room. Replicas
on one GPU slow each other, so each goes where most is free, unless that leaves one without room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import structs

from regrain.plan import GpuShare, Plan
from regrain_watchdog.policy.place import Room, choose, place
from regrain_watchdog.policy.resident import Cast


def seats(
    plan: Plan, cast: Cast, rooms: Sequence[Room], device: Callable[[int], int]
) -> dict[str, list[int]] | None:
    """Return GPUs by group for the replicas that a plan lacks; None where they do not fit beside those that stay.

    cast: which replicas stay, and in which groups. rooms: what each GPU has without any of the app's replicas.
    device: gives the GPU of a replica by its number.

    Replicas of fluid groups share a GPU in another way: with such a group it is None.
    """
    if any(group.fluid is not None for group in plan.groups):
        return None
    shares = {
        group.name: structs.replace(group.gpu, floor=group.gpu.fraction)
        for group in plan.groups
        if group.gpu is not None
    }
    left = list(rooms)
    for number, name in cast.homes.items():
        if name in shares:
            left[device(number)] = left[device(number)].less(shares[name])
    lacking = [name for name, count in cast.missing.items() if name in shares for _ in range(count)]
    lacking.sort(key=lambda name: -shares[name].fraction)
    wanted = [shares[name] for name in lacking]
    found = _spread(left, wanted) or place(left, wanted)
    if found is None:
        return None
    given: dict[str, list[int]] = {}
    for name, at in zip(lacking, found, strict=True):
        given.setdefault(name, []).append(at)
    return given


def _spread(rooms: Sequence[Room], shares: Sequence[GpuShare]) -> list[int] | None:
    """Return a GPU for each share, one after the other where most is free; None where that leaves one without room."""
    left, found = list(rooms), []
    for share in shares:
        at = choose(left, share)
        if at is None:
            return None
        left[at] = left[at].less(share)
        found.append(at)
    return found
