"""The models whose kernels can be emulated: what was measured of each, and nothing but that.

Between two measured points the time is interpolated; outside of what was measured there is no answer, since
any would be made up.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache
from importlib import resources
from itertools import pairwise

import msgspec

from regrain.errors import SpecError

FILE = "models.json"
FLOAT_BYTES = 4  # weights as they were measured: 32-bit floats
CLOSE = 1e-9  # a share that is k/n in floating point still is the share that was measured


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured model.

    Attributes:
        parameters: how many weights it has.
        shares: shares of the card that were measured, ascending, in (0, 1].
        seconds: by batch size, ascending from 1, the seconds of one run at each share of `shares`.

    Raises:
        SpecError: the table is not one.
    """

    name: str
    parameters: int
    shares: tuple[float, ...]
    seconds: dict[int, tuple[float, ...]]

    def __post_init__(self) -> None:
        shares, batches = self.shares, self.batches
        if not shares or shares[0] <= 0 or shares[-1] > 1 or not _ascend(shares):
            raise SpecError(f"{self.name}: shares must ascend within (0, 1], were {shares}")
        if not batches or batches[0] != 1 or not _ascend(batches):
            raise SpecError(f"{self.name}: batches must ascend from 1, were {batches}")
        for batch, seconds in self.seconds.items():
            if len(seconds) != len(shares) or not all(time > 0 for time in seconds):
                raise SpecError(
                    f"{self.name}: a batch of {batch} needs {len(shares)} positive times, one for each share"
                )

    @property
    def batches(self) -> tuple[int, ...]:
        """Return the batch sizes that were measured, ascending."""
        return tuple(self.seconds)

    @property
    def weights(self) -> int:
        """Return the bytes of its weights."""
        return self.parameters * FLOAT_BYTES

    def time(self, batch: int, share: float) -> float:
        """Return the seconds of one run of `batch` items on this share of the measured card.

        A measured point is given back as it is. Between two shares the time is taken to be linear in 1/share
        (exact for work that divides among the multiprocessors, T = a/share + b), between two batch sizes
        linear in the batch. A batch larger than any measured one runs as several, the largest first.

        Raises:
            SpecError: the batch is below 1, or the share is below or above all that were measured.
        """
        if batch < 1:
            raise SpecError(f"{self.name}: a batch has at least 1 item, was {batch}")
        whole, rest = divmod(batch, self.batches[-1])
        full = whole * self._at(self.batches[-1], share) if whole else 0.0
        return full + (self._between(rest, share) if rest else 0.0)

    def _between(self, batch: int, share: float) -> float:
        if batch in self.seconds:
            return self._at(batch, share)
        low, high = next(pair for pair in pairwise(self.batches) if pair[0] < batch < pair[1])
        part = (batch - low) / (high - low)
        return (1 - part) * self._at(low, share) + part * self._at(high, share)

    def _at(self, batch: int, share: float) -> float:
        lowest, highest = self.shares[0], self.shares[-1]
        if not lowest - CLOSE <= share <= highest + CLOSE:
            raise SpecError(f"{self.name} was measured at shares of {lowest:g} to {highest:g}, was {share:g}")
        seconds = self.seconds[batch]
        right = bisect_right(self.shares, share + CLOSE)
        left = right - 1
        if right == len(self.shares) or share <= self.shares[left] + CLOSE:
            return seconds[left]
        low, high = 1 / self.shares[left], 1 / self.shares[right]
        part = (low - 1 / share) / (low - high)
        return (1 - part) * seconds[left] + part * seconds[right]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the figures come from, and under which licence they are passed on."""

    project: str
    commit: str
    path: str
    copyright: str
    licence: str
    device: str
    changes: str
    parameters: str


class Models(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All shipped models, from small to large, with their source."""

    source: Source
    models: tuple[Model, ...]


@cache
def shipped() -> Models:
    """Return what comes with the package."""
    return msgspec.json.decode(resources.files(__package__).joinpath(FILE).read_bytes(), type=Models)


def model_named(name: str) -> Model:
    """Return a shipped model.

    Raises:
        SpecError: there is none of that name; the message names those that there are.
    """
    models = shipped().models
    for model in models:
        if model.name == name:
            return model
    raise SpecError(f"there is no emulated model {name!r}, there are {', '.join(m.name for m in models)}")


def _ascend(values: Sequence[float]) -> bool:
    return all(low < high for low, high in pairwise(values))
