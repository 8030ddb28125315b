"""What the controller's benchmark is held to: bars of what was measured, and the medians beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.record import Record, Results, table
from regrain_watchdog.control.controller import Habits

DAY, HOUR = 86400.0, 3600.0
AT_MOST, ENOUGH = 1, 0.95
"""Switches in an hour of stationary load, and the part of the seeds that must hold it."""
GLIMPSE = 2.0
"""Seconds of requests by which a step has shown itself: more of them than came in any so many seconds before."""
CELL = ("kind", "pipeline", "arrivals", "base", "way", "load", "period")
"""What tells rows apart but for the seed."""
SAID = {
    "late": "in force beyond the slowest load",
    "since_shown": f"decided since more came in {GLIMPSE:g} s than ever before",
    "steady_cost": "cost against the optimum in truth for such a load",
    "steady_points": "points against the optimum in truth for such a load",
    "true_cost": "cost against the optimum in truth for what came",
    "true_points": "points against the optimum in truth for what came",
}


def summary(results: Results) -> str:
    """Return tables of the medians, of steps and of the rest."""
    steps = (
        "decided",
        "shown",
        "in_force",
        "settled_cost",
        "settled_points",
        "steady_cost",
        "steady_points",
        "true_cost",
        "true_points",
        "first_cost",
        "first_points",
        "hit_rate",
    )
    rest = ("switches", "rollbacks", "hit_rate", "fixed_hit_rate", "cost", "fixed_cost")
    return "\n\n".join((_medians(results, steps), _medians(results, rest)))


def _medians(results: Results, figures: Sequence[str]) -> str:
    """Return the medians of some figures, a row for each cell that has the first of them."""
    cells = dict.fromkeys(
        tuple((name, one[name]) for name in CELL if name in one) for one in results.lines if figures[0] in one
    )
    rows = [
        [
            " ".join(str(value) for _, value in cell),
            len(results.values(figures[0], **dict(cell))),
            *(results.median(one, **dict(cell)) for one in figures),
        ]
        for cell in cells
    ]
    return table(["medians", "seeds", *figures], rows)


def judge(results: Results) -> None:
    """Hold what was measured to the bars, each kind of load for itself."""
    kinds, loads, names = (_seen(results, what) for what in ("arrivals", "load", "pipeline"))
    for kind in kinds:
        steps = [one for one in results.lines if one["kind"] == "step" and one["arrivals"] == kind]
        for way in ("up", "down"):
            found = [one for one in steps if one["way"] == way]
            _step_bars(results, f"{kind}, {way}", found, is_up=way == "up")
        for load in loads:
            for name in names:
                hours = results.values("switches", kind="hour", pipeline=name, arrivals=kind, load=load)
                if hours:
                    title = f"hour of {kind}, {load}, {name}: seeds of {len(hours)} with one switch at most"
                    results.bar(title, float(np.mean([one <= AT_MOST for one in hours])), at_least=ENOUGH)
    _unsteady_bars(results)


def _step_bars(results: Results, title: str, steps: Sequence[Record], *, is_up: bool) -> None:
    """Judge the steps of one kind: the worst of all and, beside it, the part of them that is within the bar.

    A fall harms no request: the controller waits by design until it knows how far it has gone. Rows of before have no
    `slowest`: what their change took stands for it, which is the same, since on the virtual clock a change has always
    taken as long as the slowest load by the profile (`control/closed.py`).
    """
    if not steps:
        return
    found = [
        {
            **one,
            "late": _less(one["in_force"], one.get("slowest", one["loads"])),
            "since_shown": _less(one["decided"], one["shown"]),
        }
        for one in steps
    ]
    most = {
        "settled_cost": 0.05,
        "settled_points": 1.0,
        "steady_cost": 0.05,
        "steady_points": 1.0,
        "true_cost": 0.05,
        "true_points": 1.0,
        "unanswered": 0.0,
    }
    if is_up:
        told = sum("slowest" in one for one in steps)
        name = f"step, {title}: rows that tell the slowest load; by what the change took the rest is judged"
        results.add({"kind": "note", "name": name, "value": told})
    for what, bar in ({"decided": 2.0, "since_shown": 2.0, "late": 3.0} | most if is_up else most).items():
        values = [float(str(one[what])) if one[what] is not None else float("inf") for one in found]
        name = f"step, {title}: {SAID.get(what, what)}"
        share = round(float(np.mean([value <= bar for value in values])), 3)
        results.add({"kind": "note", "name": f"{name}, part within {bar:g}", "value": share})
        results.bar(f"{name}, worst of {len(steps)}", max(values), at_most=bar)


def _seen(results: Results, what: str) -> list[object]:
    """Return the values of a field, in the order in which they were measured."""
    return list(dict.fromkeys(one[what] for one in results.lines if what in one and one["kind"] != "machine"))


def _less(value: object, by: object) -> float | None:
    return None if value is None or by is None else float(str(value)) - float(str(by))


def _unsteady_bars(results: Results) -> None:
    habits = Habits()
    for kind in ("wave", "foe"):
        rates = [
            float(str(one["switches"])) / allowed(habits, float(str(one["seconds"])))
            for one in results.lines
            if one["kind"] == kind
        ]
        if rates:
            results.bar(f"{kind}: switches over what is allowed in the time, worst", max(rates), at_most=1.0)
    for kind in ("hour", "day"):
        days = sum(results.values("seconds", kind=kind)) / DAY
        if days:
            rolled = sum(results.values("rollbacks", kind=kind)) / days
            results.bar(
                f"{kind}: rollbacks, false or not, in a simulated day, of {days:.1f}", rolled, at_most=1.0
            )


def allowed(habits: Habits, seconds: float) -> float:
    """Return how many changes the habits allow in some seconds at most."""
    hours = seconds / HOUR
    return habits.burst + habits.urgent_burst + hours * (habits.an_hour + habits.urgent_an_hour)
