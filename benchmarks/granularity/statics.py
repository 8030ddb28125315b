"""The plans of policies that never plan again, optimised once on the calibration days of each pipeline and node."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import msgspec

from benchmarks.granularity import loads
from benchmarks.granularity.judge import planning
from benchmarks.granularity.pipelines import Offer, World
from benchmarks.granularity.policies import Mind, Setting, static
from regrain.plan import Plan

Row = dict[str, object]
DAYS = range(2, 8)
"""The seeds of the calibration days, three hours in all."""
NODES = 100
"""Plans that are judged for each setting."""
LABELS = ("coarse", "fine", "best")


def settings(world: World) -> list[Setting]:
    """Return the settings of the calibration days, each weighing as much as it has requests."""
    protocol = world.protocol
    weights: dict[tuple[float, str, str], float] = defaultdict(float)
    for day in DAYS:
        stretches = loads.settings(protocol, day)
        ends = [one.begin for one in stretches[1:]] + [protocol.days.hours * 3600]
        for one, end in zip(stretches, ends, strict=True):
            rate = protocol.load.part(one.load) * world.capacity()
            weights[one.slo, one.load, one.arrivals] += rate * (end - one.begin)
    minds = {slo: Mind(_quick(world.offer(slo * world.warm_latency()))) for slo, _, _ in weights}
    drawn = {
        (load, kind): planning(world, kind, protocol.load.part(load) * world.capacity())
        for _, load, kind in weights
    }
    return [Setting(minds[slo], drawn[load, kind], weight) for (slo, load, kind), weight in weights.items()]


def _quick(offer: Offer) -> Offer:
    return replace(offer, limits=replace(offer.limits, nodes=NODES))


def row(world: World, label: str) -> Row:
    """Return one static plan as a row."""
    found = settings(world)
    coarse, fine, *_ = found[0].mind.grains()
    made = static(found, {"coarse": coarse, "fine": fine}.get(label, ""))
    return {
        "policy": f"static-{label}",
        "expected": round(made.expected, 4),
        "note": made.why,
        "plan": msgspec.to_builtins(made.plan),
    }


def plan_of(row: Row) -> Plan | None:
    """Return the plan of such a row."""
    return msgspec.convert(row["plan"], Plan) if row["plan"] is not None else None
