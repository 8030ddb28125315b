"""How a plan's groups share the seconds of the objective among them; queues take a group's end as its deadline.

After ESG's rule (HPDC'24): a group gets a part in proportion to its average normalised length, its time over that of
all groups, averaged over configurations; and branches between a group and the one that joins them have the same
seconds, those of the longest. ESG follows the dominator tree. What comes out of it for groups that every path goes
through, and for the longest branch between them, can be said of any DAG without one: a group ends where it stands on
the longest path through it, and no sooner than it is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence


def lengths(seconds: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the average normalised length of each group.

    Args:
        seconds: by configuration, of each group; each row is of some time in all.

    Example: ((1, 3), (2, 2)) -> (0.375, 0.625).
    """
    parts = [[one / sum(row) for one in row] for row in seconds]
    return tuple(sum(column) / len(parts) for column in zip(*parts, strict=True))


def split(after: Sequence[Sequence[int]], length: Sequence[float], latency: float) -> tuple[float, ...]:
    """Return by when each group is to be done, in seconds from the request's arrival.

    With h(v) the longest way up to and with group v, and t(v) the longest way after it,

        end(v) = latency h(v) / (h(v) + t(v)),

    which ascends along every path; then each may take until the last that is waited for beside it has ended.

    Args:
        after: of each group the earlier ones that it takes from, in an order in which they can run.
        length: of each group, in any measure; > 0.
        latency: seconds of the objective.

    Example: after ((), (0,), (0,), (1, 2)), length (1, 2, 4, 1), latency 6 -> (1, 5, 5, 6).
    """
    heads: list[float] = []
    for needed, own in zip(after, length, strict=True):
        heads.append(own + max((heads[before] for before in needed), default=0.0))
    tails = [0.0] * len(length)
    for place in range(len(length) - 1, -1, -1):
        for before in after[place]:
            tails[before] = max(tails[before], length[place] + tails[place])
    ends = [latency * head / (head + tail) for head, tail in zip(heads, tails, strict=True)]
    latest = [latency] * len(length)
    for needed in after:
        waited = max((ends[before] for before in needed), default=0.0)
        for before in needed:
            latest[before] = min(latest[before], waited)
    return tuple(latest)


def budgets(after: Sequence[Sequence[int]], ends: Sequence[float]) -> tuple[float, ...]:
    """Return the seconds that each group has: from when the last that it takes from is to be done, until it is.

    Example: after ((), (0,), (0,), (1, 2)), ends (1, 5, 5, 6) -> (1, 4, 4, 1).
    """
    return tuple(
        end - max((ends[before] for before in needed), default=0.0)
        for needed, end in zip(after, ends, strict=True)
    )
