"""What the report says of live cells: how far simulation is from them, and how adapting stands against fixed grains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.granularity import live, rows
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row, Rows

ADAPTIVE, FIXED = "adaptive", live.FIXED


def told(protocol: Protocol, folder: Path) -> list[str]:
    """Return the lines of the section."""
    head = ["## live", ""]
    file = folder / "live.jsonl"
    found = rows.cells(Rows(file).rows) if file.exists() else {}
    quiet = [row for policies in found.values() for row in policies.values() if row.get("disturbed") is False]
    if not quiet:
        return [*head, "Not run.", ""]
    every = len([row for policies in found.values() for row in policies.values() if "disturbed" in row])
    left = every - len(quiet)
    return [
        *head,
        f"{len(quiet)} runs in {len(found)} cells"
        + (f"; {left} more are left out, the generator was late in them." if left else "."),
        "",
        "| policy | runs | simulated less live, points | off by, mean of absolutes |",
        "|---|---|---|---|",
        *_gaps(quiet),
        "",
        "Costs are dollars for a million requests of the rate that was intended, since runs differ in how long they",
        "are, and in how many more or fewer requests than intended were drawn; where that rate is not recorded, for a",
        "million of those sent.",
        *_unpaid(quiet),
        "",
        "| pipeline | slo | load | adaptive: hit rate, cost | best fixed grain: hit rate, cost | cost saved |",
        "|---|---|---|---|---|---|",
        *_standings(protocol, found),
        "",
        *_beside_coarse(protocol, found),
    ]


def _unpaid(quiet: Sequence[Row]) -> list[str]:
    """Say what is not in the costs of rows of before: they do not tell how many requests were intended, either."""
    before = sum("intended" not in row for row in quiet)
    return (
        [f"What was reserved beside a plan while it was changed is not in the costs of {before} runs."]
        if before
        else []
    )


def _gaps(quiet: Sequence[Row]) -> Iterator[str]:
    for name in (*FIXED, ADAPTIVE):
        off = [
            100 * (float(str(row["simulated"])) - float(str(row["hit_rate"])))
            for row in quiet
            if row["policy"] == name
        ]
        if off:
            yield f"| {name} | {len(off)} | {np.mean(off):+.1f} | {np.mean(np.abs(off)):.1f} |"


def _standings(protocol: Protocol, found: Mapping[rows.Key, Mapping[str, Row]]) -> Iterator[str]:
    """Yield each cell's adaptive run beside the cheapest fixed one that met the objective, or that with most hits."""
    for policies in found.values():
        able = _able(policies)
        fixed = [row for name, row in able.items() if name in FIXED]
        if ADAPTIVE not in able or not fixed:
            continue
        mine, best = able[ADAPTIVE], min(fixed, key=lambda row: _worth(protocol, row))
        saved = _saved(protocol, mine, best)
        yield (
            f"| {mine['pipeline']} | {mine['slo']} | {mine['load']} | {_brief(protocol, mine)} | "
            f"{best['policy']}: {_brief(protocol, best)} | {'not known' if saved is None else f'{saved:z.1%}'} |"
        )


def _beside_coarse(protocol: Protocol, found: Mapping[rows.Key, Mapping[str, Row]]) -> list[str]:
    """Return what adapting saves over the plan that it begins with."""
    able = [_able(policies) for policies in found.values()]
    both = [(one[ADAPTIVE], one["coarse"]) for one in able if ADAPTIVE in one and "coarse" in one]
    saved = [part for pair in both if (part := _saved(protocol, *pair)) is not None]
    if not saved:
        return []
    return [
        f"Over the coarse plan, which it begins with, {ADAPTIVE} saves {np.median(saved):z.1%} of the cost at the",
        f"median of {len(saved)} cells ({min(saved):z.1%} to {max(saved):z.1%}).",
        "",
    ]


def _able(policies: Mapping[str, Row]) -> dict[str, Row]:
    """Return, by policy, the runs that were not disturbed and of which the cost is known."""
    return {
        name: row
        for name, row in policies.items()
        if row.get("disturbed") is False and row["cost"] is not None
    }


def _saved(protocol: Protocol, mine: Row, other: Row) -> float | None:
    """Return by what part a run is cheaper than another for each request intended; None where that is not known."""
    costs = [_cost(protocol, row) for row in (mine, other)]
    return None if costs[0] is None or costs[1] is None else 1 - costs[0] / costs[1]


def _cost(protocol: Protocol, row: Row) -> float | None:
    """Return dollars for a million requests of the intended rate; None where nothing says what it was.

    Rows of before do not tell it. On emulated GPUs it follows from the protocol; that of the OCR app was by what had
    been measured of the app.
    """
    intended = row.get("intended")
    if intended is None:
        if row["pipeline"] not in protocol.live.pipelines:
            return None
        cells = live.emulated(protocol, str(row["pipeline"]))
        cell = next(one for one in cells if (one.slo, one.load) == (row["slo"], row["load"]))
        intended = cell.intended(str(row["policy"]))
    return float(str(row["cost"])) * float(str(row["requests"])) / float(str(intended))


def _worth(protocol: Protocol, row: Row) -> tuple[bool, float]:
    hits, cost = float(str(row["hit_rate"])), float(str(row["cost"]))
    meets = hits >= protocol.slo.attainment
    return not meets, cost if meets else -hits


def _brief(protocol: Protocol, row: Row) -> str:
    cost = _cost(protocol, row)
    return f"{row['hit_rate']:.3f}, {row['cost'] if cost is None else round(cost, 3)}"
