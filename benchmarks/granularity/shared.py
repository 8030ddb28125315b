"""What the report says of apps that share a node: one planner for all against one for each."""

from __future__ import annotations

from pathlib import Path

from benchmarks.granularity import protocol as protocols
from benchmarks.granularity import rows, statistics, together
from benchmarks.granularity.rows import Rows


def told(folder: Path) -> list[str]:
    """Return the lines of the section."""
    head = ["## together", ""]
    file = folder / "together.jsonl"
    found = rows.cells(Rows(file).rows) if file.exists() else {}
    if not found:
        return [*head, "Not run.", ""]
    protocol = protocols.read()
    each, joint = together.POLICIES
    compared = list(statistics.against(found, joint, each, protocol).values())
    lines = [
        f"| {cell[-1]} | {name} | {row['hit_rate']} | {row['cost']} | {row['switches']} | {row['apps']} |"
        for cell, policies in found.items()
        for name, row in policies.items()
    ]
    return [
        *head,
        (
            f"{len(found)} days of {protocol.together.days}: {', '.join(protocol.together.pipelines)} on one node of "
            f"{protocol.together.cards} GPUs. `{joint}` against `{each}`: {statistics.medians(compared)}."
        ),
        "",
        "| day | policy | hit rate | dollars for a million requests | switches | of each app |",
        "|---|---|---|---|---|---|",
        *lines,
        "",
    ]
