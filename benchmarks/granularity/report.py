"""A report of what was run: bars by name, where gains come from, how predictions did, and pictures."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.granularity import gap, pictures, predictors, rows, shared, statistics
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity.cells import cells as every_cell
from benchmarks.granularity.protocol import Protocol
from benchmarks.granularity.rows import Key, Row, Rows
from benchmarks.granularity.statistics import Figures, Verdict
from regrain_watchdog.picture.svg import PictureError, png

Cells = Mapping[Key, Mapping[str, Row]]
STEADY = ("core", "mig", "capacity", "traces")
LADDER = ("static", "scaled", "replanned")
MAIN = "adaptive"
PARTS = (*STEADY, "days")


def write(folder: Path) -> Path:
    """Write report.md and its pictures from the rows in a folder; return the report's path."""
    protocol = protocols.read()
    parts = ["# Granularity: what was measured", "", *_scope(), *_pooled(protocol, folder)]
    for name in (*PARTS, "ablations"):
        file = folder / f"{name}.jsonl"
        if not file.exists():
            parts += [f"## {name}", "", "Not run.", ""]
            continue
        parts += [f"## {name}", "", *_part(protocol, name, Rows(file).rows, folder)]
    parts += [*shared.told(folder), *gap.told(protocol, folder)]
    path = folder / "report.md"
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def _scope() -> list[str]:
    return [
        "Simulated, by `python -m benchmarks.granularity` under `protocol.toml`, with the front's own policies of",
        "queue, batch, door and shed. Policies see a profile and what has arrived. The truth is off by a drift of up",
        "to 10 % a stage that no profile saw, other for each cell and day; all learn of it from the calls. A bar holds",
        "where the 95 % interval of the paired difference clears it. Re-planned grains, `adaptive` and",
        "`adaptive-fluid` have the same planner and predictor, the product's own; `...@analytic` has that of",
        "`adaptive-analytic`, and so on. For a steady load and the first plan of a day, `adaptive` and",
        "`adaptive-fluid` ask the planner once more with their plan as the present one, and frozen grains do not,",
        "which favours the former by a little. `oracle-charged` may have no fluid groups, and decides as the",
        "controller does, by two minutes to come: it is no bound, least of all for `adaptive-fluid`.",
        "",
    ]


def _pooled(protocol: Protocol, folder: Path) -> list[str]:
    """Tell of all parts taken together: bar a asks for one cell of the protocol."""
    found: dict[Key, Mapping[str, Row]] = {}
    for name in PARTS:
        file = folder / f"{name}.jsonl"
        found |= rows.cells(Rows(file).rows) if file.exists() else {}
    if not found:
        return []
    told = ["## all parts", "", f"{len(found)} cells and days, ablations apart.", "", "### Bars", ""]
    told += _table(("bar", "holds", "cells", "figures"), _verdicts(protocol, found))
    told += ["", "### All policies", "", *_policies(protocol, found), ""]
    return [*told, *_pictures(protocol, "all", found, folder)]


def _part(protocol: Protocol, name: str, lines: Sequence[Row], folder: Path) -> list[str]:
    found = rows.cells(lines)
    head = lines[0]
    total = len(list(every_cell(protocol, name))) if name in STEADY else None
    total = protocol.days.count if name == "days" else total
    told = f"{len(found)} cells" + (f" of {total}" if total else "")
    reduced = head.get("reduced") or (total is not None and len(found) < total)
    parts = [f"{told}, {head.get('seeds')} seeds or days{'. **A reduced run.**' if reduced else '.'}", ""]
    if not any(
        Figures.of(row) for policies in found.values() for row in policies.values() if "policy" in row
    ):
        return [*parts, "Nothing that can be judged.", ""]
    parts += ["### Bars", "", *_table(("bar", "holds", "cells", "figures"), _verdicts(protocol, found)), ""]
    parts += ["### All policies", "", *_policies(protocol, found), ""]
    if name != "ablations":
        parts += ["### By pipeline", "", *_by_pipeline(protocol, found), ""]
        parts += ["### Where a gain comes from", "", *_ladder(protocol, found), ""]
    if name in STEADY:
        parts += ["### Expected against measured hit rate", "", *_predictions(found), ""]
        parts += _infeasible(found)
    return [*parts, *_pictures(protocol, name, found, folder)]


def _verdicts(protocol: Protocol, found: Cells) -> Iterator[tuple[str, ...]]:
    oracles = [
        name for name in ("oracle-charged", "oracle-free") if any(name in one for one in found.values())
    ]
    for one in statistics.ADAPTIVE:
        if not any(one in policies for policies in found.values()):
            yield one, "not run", "", ""
            continue
        for other in statistics.opponents(one, found):
            yield from map(_told, statistics.bar_a(found, one, other, protocol))
        yield _told(statistics.bar_b(found, one, protocol))
        for oracle in oracles:
            yield _told(statistics.bar_c(found, one, oracle, protocol))
    wide = [pipeline.name for pipeline in protocol.pipeline if pipeline.lists]
    yield _told(statistics.bar_b2(found, protocol, wide))
    for oracle in oracles:
        for other in statistics.opponents(statistics.ADAPTIVE[0], found):
            for verdict in statistics.bar_a(found, oracle, other, protocol):
                bar, _, cells, told = _told(verdict)
                yield f"limit: {bar}", "", cells, told
        for cells, kind in ((found, ""), (statistics.of_pipelines(found, wide), ", widths by data")):
            limit = list(statistics.against(cells, oracle, "best", protocol).values())
            title = f"limit: {oracle} against the best re-planned grain{kind}"
            yield title, "", str(len(limit)), statistics.medians(limit)


def _told(verdict: Verdict) -> tuple[str, ...]:
    return verdict.bar, "yes" if verdict.holds else "**no**", f"{verdict.cells} of {verdict.of}", verdict.told


def _standing(protocol: Protocol, found: Cells) -> dict[str, list[tuple[float, float, float]]]:
    """Return, by policy, (cost over that of the best re-planned grain, hit rate, points to it) of each cell."""
    standing: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    cap = protocol.slo.attainment
    for policies in found.values():
        best = statistics.best_replanned(policies, cap)
        base = Figures.of(policies[best]) if best else None
        if base is None:
            continue
        for name, row in policies.items():
            figures = Figures.of(row)
            if figures is not None:
                points = min(figures.hit_rate, cap) - min(base.hit_rate, cap)
                standing[name].append((figures.cost / base.cost, figures.hit_rate, points))
    return standing


def _policies(protocol: Protocol, found: Cells) -> list[str]:
    told = []
    for name, values in _standing(protocol, found).items():
        if len(values) < 0.5 * len(found):
            continue  # a cut that only some of the pipelines have
        cost, hits, points = np.array(values).T
        told.append(
            (
                name,
                f"{len(values)}",
                f"{hits.mean():.3f}",
                f"{(hits >= protocol.slo.attainment).mean():.0%}",
                f"{np.median(cost):.3f}",
                f"{100 * np.median(points):+.1f}",
            )
        )
    head = (
        "policy",
        "cells",
        "mean hit rate",
        "meets",
        "median cost over best re-planned",
        "median points to it",
    )
    return _table(head, told)


def _by_pipeline(protocol: Protocol, found: Cells) -> list[str]:
    told = []
    for pipeline in dict.fromkeys(str(cell[1]) for cell in found):
        mine = {cell: policies for cell, policies in found.items() if cell[1] == pipeline}
        for one in statistics.ADAPTIVE:
            for other in ("replanned-coarse", "replanned-fine", "best"):
                compared = list(statistics.against(mine, one, other, protocol).values())
                if compared:
                    told.append((pipeline, one, other, str(len(compared)), statistics.medians(compared)))
    return _table(("pipeline", "policy", "against", "cells", "figures"), told)


def _ladder(protocol: Protocol, found: Cells) -> list[str]:
    """Return what each step saves over the one before: scaling, configuration, granularity."""
    told = []
    for grain in ("coarse", "fine", "best"):
        steps = [f"{rung}-{grain}" if rung != "replanned" or grain != "best" else "best" for rung in LADDER]
        named = (*steps, MAIN)
        what_moves = ("scaling", "configuration", "granularity")
        for (before, after), what in zip(pairwise(named), what_moves, strict=True):
            compared = list(_between(found, after, before, protocol))
            told.append((grain, what, str(len(compared)), statistics.medians(compared)))
    return _table(("user's grain", "step", "cells", "figures"), told)


def _between(found: Cells, after: str, before: str, protocol: Protocol) -> Iterator[statistics.Comparison]:
    for policies in found.values():
        best = statistics.best_replanned(policies, protocol.slo.attainment)
        one, other = (policies.get(best if name == "best" else name) for name in (after, before))
        mine = Figures.of(one) if one is not None else None
        theirs = Figures.of(other) if other is not None else None
        if mine is not None and theirs is not None:
            yield statistics.compare(mine, theirs, protocol)


def _predictions(found: Cells) -> list[str]:
    """Return bias and mean absolute error of what was expected, drift included that nobody could know of."""
    kinds: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for cell, lines in found.items():
        for name, row in lines.items():
            figures = Figures.of(row)
            if figures is not None and "expected" in row:
                by = _predictor(name)
                kinds[by, str(cell[6]), str(cell[5])].append(float(str(row["expected"])) - figures.hit_rate)
    told = [
        (
            *kind,
            str(len(off)),
            f"{100 * np.mean(off):+.1f}",
            f"{100 * np.mean(np.abs(off)):.1f}",
            f"{100 * max(off):+.1f}",
        )
        for kind, off in sorted(kinds.items())
    ]
    return _table(
        ("predictor", "arrivals", "load", "plans", "bias", "mean absolute error", "most optimistic"), told
    )


def _predictor(name: str) -> str:
    """Return who told what is expected of a policy's plan."""
    if "@" in name:
        return name.partition("@")[2]
    if name in predictors.ADAPTIVE:
        return predictors.ADAPTIVE[name][0]
    return predictors.VERIFIED if name.startswith(statistics.REPLANNED) else predictors.ANALYTIC


def _infeasible(found: Cells) -> list[str]:
    told = [
        (str(cell[1]), f"{cell[4]:g}", str(cell[5]), str(cell[6]), name, str(row["infeasible"])[:100])
        for cell, policies in found.items()
        for name, row in policies.items()
        if "infeasible" in row
    ]
    if not told:
        return []
    head = ("pipeline", "slo", "load", "arrivals", "policy", "why")
    return ["### Policies without a plan", "", *_table(head, told), ""]


def _pictures(protocol: Protocol, name: str, found: Cells, folder: Path) -> list[str]:
    points = {
        policy: (float(np.median([one[0] for one in values])), float(np.mean([one[1] for one in values])))
        for policy, values in _standing(protocol, found).items()
        if len(values) >= 0.5 * len(found)
    }
    if not points:
        return []
    standing = pictures.scatter(
        f"{name}: cost against hit rate",
        "median cost over the best re-planned grain's",
        "mean hit rate",
        points,
    )
    savings = {
        other.removeprefix("replanned-"): [
            100 * each.saving.value
            for each in statistics.against(found, MAIN, other, protocol).values()
            if each.points.value >= -statistics.POINTS
        ]
        for other in (*statistics.opponents(MAIN, found), "best")
    }
    gains = pictures.spread(
        f"{name}: what {MAIN} saves, where its hit rate is not more than a point lower",
        "percent of cost, a dot for each cell; the bar of the protocol is dashed",
        savings,
        100 * protocol.wins.cost,
    )
    told = []
    for label, drawing in (("policies", standing), ("savings", gains)):
        file = folder / f"{name}-{label}.svg"
        file.write_text(drawing, encoding="utf-8")
        with contextlib.suppress(PictureError):  # a machine without fonts; the SVG says the same
            file.with_suffix(".png").write_bytes(png(drawing))
        told += [f"![{name}, {label}]({file.name})", ""]
    return told


def _table(head: Sequence[str], lines: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
        *(f"| {' | '.join(one.replace('|', chr(92) + '|') for one in line)} |" for line in lines),
    ]
