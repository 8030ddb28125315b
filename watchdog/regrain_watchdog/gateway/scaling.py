"""What a function's labels say about its number of replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from regrain.errors import SpecError

PREFIX = "com.openfaas.scale."
MOST = 1000
"""Replicas that any function may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many replicas a function may have.

    factor: percent of `most` that an alert adds; 0 for none.
    """

    least: int = 1
    most: int = 20
    factor: int = 20

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Bounds:
        """Read a function's labels; SpecError names the label and what it may be."""
        least = _number(labels, "min", 1, range(MOST + 1))
        most = _number(labels, "max", max(20, least), range(max(1, least), MOST + 1))
        return cls(least=least, most=most, factor=_number(labels, "factor", 20, range(101)))

    def deployed(self, before: int) -> int:
        """Return the replicas of a function that is deployed, which had so many before; 0 for a new one."""
        return min(max(before, self.least, 1), self.most)

    def alerted(self, replicas: int, *, firing: bool) -> int:
        """Return the replicas after an alert: a step more while it fires, the least once it is resolved."""
        if not firing:
            return self.least
        step = math.ceil(self.most * self.factor / 100)
        return min(max(replicas + step, self.least), max(replicas, self.most))


def _number(labels: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    text = labels.get(PREFIX + name, "").strip()
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or int(text[:9]) not in allowed:
        span = f"{allowed.start} to {allowed.stop - 1}"
        raise SpecError(f"labels.{PREFIX}{name}: a whole number from {span}, was {text!r}")
    return int(text)
