"""How large requests are, and how many items their lists have: distributions as values, drawn with a generator."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from regrain.errors import SpecError
from regrain_watchdog.simulate.arrivals import Times
from regrain_watchdog.simulate.trace import Trace

Floats = NDArray[np.float64]
HIGHEST = (1 << 53) - 1
"""The highest whole number below which floats have all of them."""


class Fixed(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="fixed"):
    """Always the same."""

    value: float

    def __post_init__(self) -> None:
        """Refuse what is negative."""
        _check("value", self.value, 0.0)

    def draw(self, times: Times, rng: np.random.Generator) -> Floats:  # noqa: ARG002 - as all distributions
        """Return one for each request."""
        return np.full(len(times.at), self.value)


class Lognormal(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="lognormal"):
    """Around a `median`; `sigma` is the standard deviation of the logarithm."""

    median: float
    sigma: float

    def __post_init__(self) -> None:
        """Refuse what is negative."""
        _check("median", self.median, 0.0)
        _check("sigma", self.sigma, 0.0)

    def draw(self, times: Times, rng: np.random.Generator) -> Floats:
        """Draw one for each request."""
        return self.median * rng.lognormal(0.0, self.sigma, len(times.at))


class Geometric(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="geometric"):
    """From 1 on, each further one as probable as that the `mean` comes out."""

    mean: float

    def __post_init__(self) -> None:
        """Refuse means below the least value."""
        _check("mean", self.mean, 1.0)

    def draw(self, times: Times, rng: np.random.Generator) -> Floats:
        """Draw one for each request."""
        return rng.geometric(1.0 / self.mean, len(times.at)).astype(np.float64)


class Uniform(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="uniform"):
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        """Refuse what holds nothing."""
        if not 0 <= self.low <= self.high:
            raise SpecError(f"low and high must be ascending and 0 or more, were {self.low} and {self.high}")
        if self.high > HIGHEST:
            raise SpecError(f"high must be at most {HIGHEST}, was {self.high}")

    def draw(self, times: Times, rng: np.random.Generator) -> Floats:
        """Draw one for each request."""
        return rng.integers(self.low, self.high, len(times.at), endpoint=True).astype(np.float64)


class Column(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="column"):
    """As a column of a trace has them, times `scale`.

    Requests that come from this very trace, read alike, have the value of their own row; all others draw a row.
    """

    trace: Trace
    column: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what makes nothing of everything."""
        _check("scale", self.scale, 1e-12)

    def draw(self, times: Times, rng: np.random.Generator) -> Floats:
        """Return one for each request; SpecError if there is no such column."""
        columns = self.trace.read().columns
        if self.column not in columns:
            raise SpecError(
                f"{self.trace.file} has no numbers in column {self.column!r}; it has them in {', '.join(columns)}"
            )
        values = columns[self.column] * self.scale
        drawn = rng.integers(0, len(values), len(times.at))
        own = (times.rows >= 0) if times.trace == self.trace else np.zeros(len(times.at), dtype=bool)
        return values[np.where(own, times.rows, drawn)]


Distribution = Fixed | Lognormal | Geometric | Uniform | Column


def _check(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise SpecError(f"{name} must be {least:g} or more, was {value:g}")
