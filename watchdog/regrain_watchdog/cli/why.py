"""Why the plan in force rules, and what it would take to change it, for `regrain status --why`."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from rich.table import Table

from regrain_watchdog.cli import tables
from regrain_watchdog.control.decision import Decision, Shape, Told
from regrain_watchdog.words import configured, duration, share, size

MIDDLE, HIGH = 0.5, 0.95
"""Quantiles that are told."""


class Why(Struct, frozen=True, kw_only=True):
    """GET /why; nothing in it before the first decision."""

    decision: Decision | None = None
    needs: tuple[str, ...] = ()


def lines(why: Why) -> Iterator[str]:
    """Yield what is to be said, line by line."""
    told = why.decision
    if told is None:
        yield "the controller has decided nothing yet: it waits until something is known of every stage"
        return
    rules = "is to rule" if told.plan is not None else "rules"
    plan = told.plan or told.present.plan
    yield f"{configured(plan)} {rules}: {told.sentence}"
    if told.detail:
        yield f"detail   {told.detail}"
    if told.rate is not None and told.dwell is not None:
        yield (
            f"load     {told.rate:.3g} requests/s expected, {told.planned:.3g} planned for, "
            f"{told.peak:.3g} at the peak; to last {duration(told.dwell)}"
        )
    if told.shape is not None:
        yield from _like(told.shape)
    if told.measured is not None:
        yield f"measured {share(told.measured)} in time since the plan or the load changed"
    yield from (f"to change {need}" for need in why.needs)


def _like(shape: Shape) -> Iterator[str]:
    """Yield what requests are like."""
    if shape.bursts:
        over = ", ".join(f"{seconds:g} s: {value:.2g}" for seconds, value in shape.bursts.items())
        yield f"bursts   variance of counts over their mean, 1 by chance: {over}"
    if shape.size:
        yield f"bodies   {size(round(shape.size[MIDDLE]))} at the median, {size(round(shape.size[HIGH]))} at 95 %"
    for items in shape.widths:
        if items:
            yield f"items    {items[MIDDLE]:.3g} at the median, {items[HIGH]:.3g} at 95 %"


def candidates(why: Why) -> Table | None:
    """Return the plan in force and others as a table; None where nothing was decided."""
    if why.decision is None:
        return None
    table = tables.table("", "plan", "hit rate", "p95", "$/h", "$/1000", "way there", "verdict")
    _row(table, "in force", why.decision.present)
    for told in why.decision.candidates:
        _row(table, "taken" if told.plan == why.decision.plan else "", told)
    return table


def _row(table: Table, standing: str, told: Told) -> None:
    way = f"{duration(told.seconds)}, ${told.charge:.2g}" if told.seconds else ""
    table.add_row(
        standing,
        configured(told.plan),
        share(told.hit_rate),
        duration(told.p95),
        f"{told.cost:.3g}",
        f"{told.per_thousand:.2g}" if told.per_thousand is not None else "-",
        way,
        told.verdict.lower(),
    )
