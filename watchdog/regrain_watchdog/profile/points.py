"""Which settings of an app's stages to measure, and in which order, so that whatever was measured by then is of use.

On each axis the ends come first, then the middle, then the middles of what is left. So after a few points of every
stage its whole range is known roughly, and the rest of the time makes it finer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What is to be varied of one stage.

    Attributes:
        batches: units in a call.
        requests: places of the requests to take units from, by their size.
        shares: of a GPU, or cores.
        loads: whether another share costs a load of the stage. Then each is measured in one go, in the order given.
    """

    batches: tuple[int, ...]
    requests: tuple[int, ...]
    shares: tuple[float, ...]
    loads: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """One point to measure."""

    stage: str
    share: float
    request: int
    batch: int


def doubling(most: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... and `most`."""
    found = []
    batch = 1
    while batch < most:
        found.append(batch)
        batch *= 2
    return (*found, most)


def by_halves(count: int) -> list[int]:
    """Return for each of `count` places on an axis the round in which its turn is: the ends first, then middles."""
    rounds = [0] * count
    if count > 1:
        rounds[-1] = 1
    spans = [(0, count - 1)]
    turn = 2
    while spans:
        halves = []
        for low, high in spans:
            if high - low > 1:
                middle = (low + high) // 2
                rounds[middle] = turn
                halves += [(low, middle), (middle, high)]
        spans = halves
        turn += 1
    return rounds


def settings(stages: Mapping[str, Axes]) -> list[Setting]:
    """Return every setting of every stage, in the order in which to measure them."""
    turns: list[tuple[int, int, Setting]] = []
    for place, (stage, axes) in enumerate(stages.items()):
        requests, batches = _turns(axes.requests), _turns(axes.batches)
        rest = 1 + max(requests.values(), default=0) + max(batches.values(), default=0)
        ordinals = {share: rest * ordinal for ordinal, share in enumerate(axes.shares)}
        shares = ordinals if axes.loads else _turns(sorted(axes.shares, reverse=True))
        for share, begin in shares.items():
            for request, of_request in requests.items():
                for batch, of_batch in batches.items():
                    turn = begin + of_request + of_batch
                    turns.append((turn, place, Setting(stage, share, request, batch)))
    return [setting for _, _, setting in sorted(turns)]


def _turns(values: Sequence[N]) -> dict[N, int]:
    return dict(zip(values, by_halves(len(values)), strict=True))
