"""Put things that want to be somewhere into a row without overlap, each as near to its wish as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A thing that reaches `above` and `below` its place, and wants to be at `wish` with this `weight`."""

    wish: float
    above: float
    below: float
    weight: float


def settle(items: Sequence[Item], gap: float) -> list[float]:
    """Return places p, in the items' order, with p[i+1] - p[i] >= below[i] + gap + above[i+1].

    They minimise sum(weight * (p - wish) ** 2): with the distances that must lie before an item taken off,
    this is isotonic regression, solved by pooling neighbours that would overlap (Barlow et al. 1972).
    """
    offsets = [0.0]
    for upper, lower in pairwise(items):
        offsets.append(offsets[-1] + upper.below + gap + lower.above)
    pools: list[tuple[float, float, int]] = []  # level, weight, members
    for item, offset in zip(items, offsets, strict=False):
        level, weight, members = item.wish - offset, item.weight, 1
        while pools and pools[-1][0] > level:
            other, other_weight, count = pools.pop()
            level = (level * weight + other * other_weight) / (weight + other_weight)
            weight, members = weight + other_weight, members + count
        pools.append((level, weight, members))
    levels = [level for level, _, members in pools for _ in range(members)]
    return [level + offset for level, offset in zip(levels, offsets, strict=False)]
