"""What the results say: paired differences with intervals, and the protocol's bars by name.

Two policies are compared on the same arrivals, sizes, widths and jitter. Of steady cells pairs are seeds, of days they
are blocks of a minute; both are drawn anew with replacement (Efron's percentile bootstrap), the pair kept together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.granularity import predictors
from benchmarks.granularity.predictors import VERIFIED
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row

Floats = NDArray[np.float64]
REPLANNED = "replanned-"
ADAPTIVE = tuple(predictors.ADAPTIVE)
OPPONENTS = ("replanned-coarse", "replanned-fine", "static-fine", "static-coarse", "infless", "esg")
LEVEL = (2.5, 97.5)
POINTS, DEARER = 0.01, 0.03
"""Bar b: by how much lower a hit rate and dearer a plan may be than the best re-planned grain's."""
TELLING = 0.2
"""Hit rate below which a relative gain over it tells nothing."""
FLUID_SAVES = 0.15
"""Bar b2."""
REGRET_POINTS, REGRET_COST = 0.05, 0.10
"""Bar c."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What is known of a policy in a cell: (n,) offered, hits and dollars of each seed or block."""

    offered: Floats
    hits: Floats
    dollars: Floats

    @classmethod
    def of(cls, row: Row) -> Figures | None:
        """Take them from a row; None where the policy had no plan."""
        if "infeasible" in row:
            return None
        if "missed" in row:
            offered = np.array(row["offered"], float)
            return cls(offered, offered - np.array(row["missed"], float), np.array(row["dollars"], float))
        hits = np.array(row["hit_rate"], float)
        return cls(np.ones(len(hits)), hits, np.array(row["cost"], float))

    @property
    def hit_rate(self) -> float:
        return float(self.hits.sum() / self.offered.sum())

    @property
    def cost(self) -> float:
        return float(self.dollars.sum() / self.offered.sum())


@dataclass(frozen=True, slots=True)
class Comparison:
    """One policy against another.

    Attributes:
        gain: relative gain of hit rate. points: of hit rate, both capped at the attainment.
        saving: of cost, as a part of the other's.
    """

    gain: Interval
    points: Interval
    saving: Interval


def compare(one: Figures, other: Figures, protocol: Protocol, *, seed: int = 0) -> Comparison:
    """Return how one policy stands against another on the same requests."""
    rng = np.random.default_rng(seed)
    count = len(one.offered)
    drawn = rng.integers(0, count, (protocol.wins.resamples, count))
    cap = protocol.slo.attainment
    offered = np.maximum(one.offered[drawn].sum(axis=1), 1e-9)
    others = np.maximum(other.offered[drawn].sum(axis=1), 1e-9)
    mine, theirs = one.hits[drawn].sum(axis=1) / offered, other.hits[drawn].sum(axis=1) / others
    spent, paid = one.dollars[drawn].sum(axis=1) / offered, other.dollars[drawn].sum(axis=1) / others
    return Comparison(
        gain=_interval(_over(one.hit_rate, other.hit_rate), mine / np.maximum(theirs, 1e-9) - 1),
        points=_interval(
            min(one.hit_rate, cap) - min(other.hit_rate, cap), np.minimum(mine, cap) - np.minimum(theirs, cap)
        ),
        saving=_interval(1 - one.cost / other.cost, 1 - spent / paid),
    )


def _over(one: float, other: float) -> float:
    return one / max(other, 1e-9) - 1


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, LEVEL)
    return Interval(float(value), float(low), float(high))


def beats_hits(found: Comparison, protocol: Protocol) -> bool:
    """Bar a, first half: the hit rate is higher by as much as the protocol says, at no more cost."""
    return found.gain.low >= protocol.wins.hit_rate and found.saving.low >= -1e-9


def beats_cost(found: Comparison, protocol: Protocol) -> bool:
    """Bar a, second half: the cost is lower by as much as the protocol says, at no lower hit rate."""
    return found.saving.low >= protocol.wins.cost and found.points.low >= -1e-9


def keeps_up(found: Comparison) -> bool:
    """Bar b: not more than a point of hit rate lower, and not more than 3 % dearer."""
    return found.points.low >= -POINTS and found.saving.low >= -DEARER


def regrets_little(found: Comparison) -> bool:
    """Bar c, of one cell: as it stands, without its interval; the bar is on the median."""
    return found.points.value >= -REGRET_POINTS and found.saving.value >= -REGRET_COST


def best_replanned(policies: Mapping[str, Row], attainment: float) -> str:
    """Return the re-planned policy that was best in hindsight; "" where none had a plan.

    It is one by the product's own predictor, of which every cut was run: the cheapest of those that met the objective;
    if none did, the one with the highest hit rate.
    """
    best, name = (False, -np.inf, -np.inf), ""
    for label, row in policies.items():
        figures = Figures.of(row) if label.startswith(REPLANNED) and "@" not in label else None
        if figures is None:
            continue
        met = figures.hit_rate >= attainment - 1e-9
        worth = (met, -figures.cost if met else figures.hit_rate, -figures.cost)
        if worth > best:
            best, name = worth, label
    return name


def against(
    cells: Mapping[tuple[object, ...], Mapping[str, Row]], one: str, other: str, protocol: Protocol
) -> dict[tuple[object, ...], Comparison]:
    """Return, by cell, how a policy stands against another; `other` "best" is the best re-planned in hindsight."""
    found = {}
    for cell, policies in cells.items():
        label = best_replanned(policies, protocol.slo.attainment) if other == "best" else other
        if one not in policies or label not in policies:
            continue
        mine, theirs = Figures.of(policies[one]), Figures.of(policies[label])
        if mine is not None and theirs is not None:
            found[cell] = compare(mine, theirs, protocol)
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar: in how many of how many cells it holds, and the best or median figures that say how far it is."""

    bar: str
    holds: bool
    cells: int
    of: int
    told: str


def opponents(one: str, cells: Mapping[tuple[object, ...], Mapping[str, Row]]) -> tuple[str, ...]:
    """Return whom a policy is held against; re-planned ones by the predictor that it has, where they were run."""
    every = {name for policies in cells.values() for name in policies}
    by, _ = predictors.ADAPTIVE.get(one, (VERIFIED, False))
    own = [f"{name}@{by}" if f"{name}@{by}" in every else name for name in OPPONENTS]
    return tuple(name for name in own if name in every)


def bar_a(
    cells: Mapping[tuple[object, ...], Mapping[str, Row]], one: str, other: str, protocol: Protocol
) -> tuple[Verdict, Verdict]:
    """Return both halves of bar a against one opponent."""
    found = against(cells, one, other, protocol)
    hits = [cell for cell, each in found.items() if beats_hits(each, protocol)]
    costs = [cell for cell, each in found.items() if beats_cost(each, protocol)]
    gains = [
        each.gain.value
        for cell, each in found.items()
        if each.saving.low >= -1e-9 and _hit_rate(cells[cell][other]) >= TELLING
    ]
    savings = [each.saving.value for each in found.values() if each.points.low >= -1e-9]
    return (
        Verdict(
            f"a, hit rate, {one} against {other}",
            bool(hits),
            len(hits),
            len(found),
            _best(gains, f"higher at no more cost where the other has {TELLING:g} or more"),
        ),
        Verdict(
            f"a, cost, {one} against {other}",
            bool(costs),
            len(costs),
            len(found),
            _best(savings, "cheaper at no lower hit rate"),
        ),
    )


def bar_b(cells: Mapping[tuple[object, ...], Mapping[str, Row]], one: str, protocol: Protocol) -> Verdict:
    """Return bar b: each cell or day against the best re-planned grain in hindsight."""
    found = against(cells, one, "best", protocol)
    holding = [cell for cell, each in found.items() if keeps_up(each)]
    return Verdict(
        f"b, {one} against the best re-planned grain in hindsight",
        bool(found) and len(holding) == len(found),
        len(holding),
        len(found),
        medians(list(found.values())),
    )


def bar_b2(
    cells: Mapping[tuple[object, ...], Mapping[str, Row]], protocol: Protocol, pipelines: Sequence[str]
) -> Verdict:
    """Return bar b2: fluid groups against the best re-planned grain, where widths depend on the data."""
    found = against(of_pipelines(cells, pipelines), "adaptive-fluid", "best", protocol)
    saving = _median([each.saving.value for each in found.values()])
    points = _median([each.points.value for each in found.values()])
    holding = [each for each in found.values() if each.saving.low >= FLUID_SAVES and each.points.low >= -1e-9]
    return Verdict(
        "b2, adaptive-fluid against the best re-planned grain, widths by data",
        bool(found) and saving >= FLUID_SAVES and points >= -1e-9,
        len(holding),
        len(found),
        medians(list(found.values())),
    )


def of_pipelines(
    cells: Mapping[tuple[object, ...], Mapping[str, Row]], pipelines: Sequence[str]
) -> dict[tuple[object, ...], Mapping[str, Row]]:
    """Return the cells of some pipelines."""
    return {cell: policies for cell, policies in cells.items() if cell[1] in pipelines}


def bar_c(
    cells: Mapping[tuple[object, ...], Mapping[str, Row]], one: str, oracle: str, protocol: Protocol
) -> Verdict:
    """Return bar c: the regret against an oracle, median over cells or days."""
    found = against(cells, one, oracle, protocol)
    holding = [each for each in found.values() if regrets_little(each)]
    saving = _median([each.saving.value for each in found.values()])
    points = _median([each.points.value for each in found.values()])
    return Verdict(
        f"c, {one} against {oracle}",
        bool(found) and points >= -REGRET_POINTS and saving >= -REGRET_COST,
        len(holding),
        len(found),
        medians(list(found.values())),
    )


def medians(found: Sequence[Comparison]) -> str:
    """Return medians and ranges in words."""
    if not found:
        return "nothing to compare"
    points = [100 * each.points.value for each in found]
    savings = [100 * each.saving.value for each in found]
    return (
        f"median {_median(points):+.1f} points ({min(points):+.1f} to {max(points):+.1f}), "
        f"saving {_median(savings):+.1f} % ({min(savings):+.1f} to {max(savings):+.1f})"
    )


def _hit_rate(row: Row) -> float:
    figures = Figures.of(row)
    return figures.hit_rate if figures is not None else 0.0


def _best(values: Sequence[float], what: str) -> str:
    return f"at most {100 * max(values):.1f} % {what}" if values else f"nowhere {what}"


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")
