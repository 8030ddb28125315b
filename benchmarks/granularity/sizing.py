"""As many replicas as a load needs, of groups whose shares and batches are given: what a platform's autoscaler does."""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import structs

from benchmarks.granularity.pipelines import Offer, Times
from regrain.plan import Plan
from regrain_watchdog.policy.cost import rate
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Model, make_model
from regrain_watchdog.policy.predict.predictor import Prediction, Predictor
from regrain_watchdog.policy.search.packing import pack
from regrain_watchdog.policy.search.problem import STABLE

STEPS = 120
"""Replicas that are added or taken away one by one at most."""


def staffed(
    offer: Offer, plan: Plan, times: Times, load: Arrivals, predictor: Predictor
) -> tuple[Plan, Prediction] | None:
    """Return the plan with the fewest replicas that are expected to meet the objective; None where it never fits.

    Begins with what bears the load, adds the replica that gains most hit rate for its price until the objective is
    met or nothing more fits, and takes away what is not needed.
    """

    def expected(one: Plan) -> Prediction:
        return predictor.predict(make_model(offer.app, one, times), load)

    def meets(prediction: Prediction) -> bool:
        return prediction.hit_rate >= offer.app.slo.attainment

    here = _borne(offer, plan, times, load)
    if here is None:
        return None
    told = expected(here)
    for _ in range(STEPS):
        if meets(told):
            break
        found = [
            (
                (expected(more).hit_rate - told.hit_rate) / (_cost(offer, more) - _cost(offer, here)),
                place,
                more,
            )
            for place, more in _changed(offer, here, 1)
        ]
        if not found:
            break
        gain, _, best = max(found, key=lambda one: one[0])
        if gain <= 0:
            break
        here, told = best, expected(best)
    for _ in range(STEPS if meets(told) else 0):
        less = [
            (_cost(offer, one), place, one)
            for place, one in _changed(offer, here, -1)
            if meets(expected(one))
        ]
        if not less:
            break
        here = min(less, key=lambda one: one[0])[2]
    return here, expected(here)


def _borne(offer: Offer, plan: Plan, times: Times, load: Arrivals) -> Plan | None:
    """Return a plan whose groups bear a load with full batches; fewer replicas where those do not fit."""
    bare = Plan(tuple(structs.replace(group, replicas=1) for group in plan.groups))
    if pack(bare, offer.app.profile, offer.node) is None:
        return None
    model = make_model(offer.app, bare, times)
    counts = [max(1, math.ceil(busy / STABLE)) for busy in offered(model, load)]
    most = offer.limits.replicas
    while True:
        found = Plan(
            tuple(
                structs.replace(group, replicas=min(count, most))
                for group, count in zip(plan.groups, counts, strict=True)
            )
        )
        if pack(found, offer.app.profile, offer.node) is not None:
            return found
        counts = [max(1, count - 1) if count == max(counts) else count for count in counts]


def offered(model: Model, load: Arrivals) -> list[float]:
    """Return how many replicas of each pool a load keeps busy that come in full batches."""
    busy = [0.0] * len(model.pools)
    widths = load.widths.mean(axis=0) if len(load) and load.widths.size else []
    for station in model.stations:
        items = 1.0 if station.scope == PER_REQUEST else float(widths[station.scope])
        seconds = sum(
            work.total(
                station.max_size
                if work.scope in (PER_REQUEST, station.scope)
                else max(1, round(station.max_size * float(widths[work.scope])))
            )
            for work in station.works
        )
        busy[station.pool] += load.rate * items * seconds / station.max_size
    return busy


def _changed(offer: Offer, plan: Plan, by: int) -> Iterator[tuple[int, Plan]]:
    for place, group in enumerate(plan.groups):
        if not 1 <= group.replicas + by <= offer.limits.replicas:
            continue
        groups = list(plan.groups)
        groups[place] = structs.replace(group, replicas=group.replicas + by)
        changed = Plan(tuple(groups))
        if pack(changed, offer.app.profile, offer.node) is not None:
            yield place, changed


def _cost(offer: Offer, plan: Plan) -> float:
    return rate(plan, offer.app.profile, offer.prices, offer.node.cards[0])
