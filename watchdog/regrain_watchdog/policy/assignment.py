"""Which pods of an app run which group, and when that is to be changed.

Every pod can run every group, so an assignment is a matter of counting: each group gets a part of the pods by its
weight, no group none. Pods keep what they have as far as that goes, since a group that moves is loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, structs

from regrain.plan import Group


class Assignment(Struct, frozen=True, kw_only=True):
    """Who runs what from an epoch on.

    version: of the app, by its digest. homes: by group of the grain, the URLs of the pods that run it.
    replicas: by group, in each of its pods.
    groups: as they were planned, with the replicas of all pods together; none where only the grain is given.
    """

    epoch: int
    version: str
    grain: str
    homes: dict[str, tuple[str, ...]]
    replicas: dict[str, int]
    groups: tuple[Group, ...] = ()

    def says_as(self, other: Assignment) -> bool:
        """Whether another one differs in nothing but its epoch."""
        return structs.replace(self, epoch=other.epoch) == other


class Standing(Struct, frozen=True, kw_only=True):
    """What a pod says of itself.

    epoch: in force. oldest: that it still holds. ready: whether it serves. draining: whether it is to stop.
    ending: calls under way of plans before the one in force. decision: the number of the last one that it was told of;
    0 before the first. assignment: in force; None before the first.
    """

    version: str
    epoch: int
    oldest: int
    grain: str
    ready: bool
    draining: bool
    ending: int
    decision: int = 0
    assignment: Assignment | None = None


def shares(weights: Mapping[str, float], pods: int) -> dict[str, int]:
    """Return how many of some pods each group gets; those of largest remainder first, and one at least.

    With fewer pods than groups each gets one, so that a pod has several.

    Example: weights 1, 1, 4 and 6 pods -> 1, 1, 4; 4 pods -> 1, 1, 2; 2 pods -> 1, 1, 1.
    """
    given = dict.fromkeys(weights, 1)
    total = sum(weights.values())
    for _ in range(pods - len(given)):
        neediest = max(given, key=lambda name: weights[name] / total * pods - given[name])
        given[neediest] += 1
    return given


def assigned(
    weights: Mapping[str, float], pods: Sequence[str], before: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return the pods of each group.

    Args:
        weights: by group, what it needs beside the others; over 0.
        pods: there are.
        before: by group, the pods that had it, or most of it.
    """
    return housed(shares(weights, len(pods)), pods, before) if pods else {}


def housed(
    wanted: Mapping[str, int], pods: Sequence[str], before: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Return the pods of each group that is to have so many, by group; as `assigned`, but pods may be without any."""
    homes: dict[str, list[str]] = {
        name: [pod for pod in before.get(name, ()) if pod in pods] for name in wanted
    }
    held: dict[str, int] = dict.fromkeys(pods, 0)
    for name, found in homes.items():
        kept = [pod for pod in found if not held[pod]][: wanted[name]]
        homes[name] = kept
        for pod in kept:
            held[pod] += 1
    for name, kept in sorted(homes.items(), key=lambda entry: len(entry[1])):
        while len(kept) < wanted[name]:
            pod = min((one for one in pods if one not in kept), key=lambda one: held[one])
            kept.append(pod)
            held[pod] += 1
    return {name: tuple(sorted(kept)) for name, kept in homes.items()}


def laid_out(
    groups: Sequence[Group],
    counts: Mapping[str, int],
    pods: Sequence[str],
    before: Mapping[str, Sequence[str]],
) -> tuple[dict[str, tuple[str, ...]], dict[str, int], tuple[Group, ...]]:
    """Return the pods of each group of a plan, its replicas in each of them, and the groups as far as pods suffice.

    Args:
        groups: with the replicas of all pods together.
        counts: by group, the pods that it was planned for; of the others none is used. Where there are fewer pods by
            now each group has its part of them.
        pods: there are.
        before: by group, the pods that had it, or most of it.
    """
    suffice = sum(counts.values()) <= len(pods)
    homes = housed(counts if suffice else shares(counts, len(pods)), pods, before)
    each = {group.name: -(-group.replicas // counts[group.name]) for group in groups}
    real = tuple(
        structs.replace(group, replicas=min(group.replicas, len(homes[group.name]) * each[group.name]))
        for group in groups
    )
    return homes, each, real


def newest(standings: Mapping[str, Standing], version: str) -> Assignment | None:
    """Return the latest assignment of a version that a pod has in force; None where none has any."""
    found = [one.assignment for one in standings.values() if one.assignment is not None]
    return max((one for one in found if one.version == version), key=lambda one: one.epoch, default=None)


def follows(
    before: Assignment | None, grain: str, homes: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Return, for groups of a new grain, the pods that had stages of theirs, those with most first.

    Args:
        before: the assignment in force.
        grain: the new one, in its notation.
        homes: its groups by name, as keys.
    """
    if before is None:
        return {}
    if before.grain == grain:
        return {name: list(pods) for name, pods in before.homes.items()}
    had: dict[str, list[str]] = {}
    for name in homes:
        stages = set(name.split("+"))
        common: dict[str, int] = {}
        for other, pods in before.homes.items():
            for pod in pods:
                common[pod] = common.get(pod, 0) + len(stages & set(other.split("+")))
        had[name] = sorted((pod for pod in common if common[pod]), key=lambda pod: (-common[pod], pod))
    return had


def next_epoch(standings: Sequence[Standing], last: Assignment | None) -> int:
    """Return an epoch that is higher than all that pods know of, or were told."""
    return 1 + max([one.epoch for one in standings] + [last.epoch if last is not None else 0])


def behind(wanted: Assignment, standings: Mapping[str, Standing]) -> list[str]:
    """Return the pods that are to be told of an assignment: not those that have never served yet, or stop."""
    return [
        pod
        for pod, one in standings.items()
        if one.epoch < wanted.epoch and (one.ready or one.epoch) and not one.draining
    ]


def is_over(wanted: Assignment, standings: Mapping[str, Standing]) -> bool:
    """Whether nothing of epochs before an assignment is under way any more, and some pod still holds one."""
    ours = _ours(standings)
    has_all = all(one.epoch == wanted.epoch and not one.ending for one in ours)
    return has_all and any(one.oldest < wanted.epoch for one in ours)


def is_in_force(wanted: Assignment, standings: Mapping[str, Standing]) -> bool:
    """Whether all pods have an assignment."""
    return all(one.epoch == wanted.epoch for one in _ours(standings) if not one.draining)


def is_settled(wanted: Assignment, standings: Mapping[str, Standing]) -> bool:
    """Whether all pods have an assignment, and none of them holds another one."""
    return all(one.epoch == one.oldest == wanted.epoch for one in _ours(standings) if not one.draining)


def _ours(standings: Mapping[str, Standing]) -> list[Standing]:
    """Return those that have served."""
    return [one for one in standings.values() if one.ready or one.epoch]
