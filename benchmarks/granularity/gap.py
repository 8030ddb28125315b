"""What the report says of live cells: how far simulation is from them, and how adapting stands against fixed grains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.granularity import rows
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Row, Rows

ADAPTIVE, FIXED = "adaptive", ("coarse", "fine")


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
        "| pipeline | slo | load | adaptive: hit rate, cost | best fixed grain: hit rate, cost | cost saved |",
        "|---|---|---|---|---|---|",
        *_standings(protocol, found),
        "",
    ]


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
        able = [row for row in policies.values() if row.get("disturbed") is False and row["cost"] is not None]
        mine = next((row for row in able if row["policy"] == ADAPTIVE), None)
        fixed = [row for row in able if row["policy"] in FIXED]
        if mine is None or not fixed:
            continue
        best = min(fixed, key=lambda row: _worth(protocol, row))
        saved = 1 - float(str(mine["cost"])) / float(str(best["cost"]))
        yield (
            f"| {mine['pipeline']} | {mine['slo']} | {mine['load']} | {_brief(mine)} | "
            f"{best['policy']}: {_brief(best)} | {saved:.1%} |"
        )


def _worth(protocol: Protocol, row: Row) -> tuple[bool, float]:
    hits, cost = float(str(row["hit_rate"])), float(str(row["cost"]))
    meets = hits >= protocol.slo.attainment
    return not meets, cost if meets else -hits


def _brief(row: Row) -> str:
    return f"{row['hit_rate']:.3f}, {row['cost']}"
