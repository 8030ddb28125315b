"""A report as pictures and as a page that needs nothing else; one report, or two side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import chain

from regrain_watchdog.load.report import SHARES, AppReport, Bin, Decisions, Report, Total, gaps, total
from regrain_watchdog.picture.chart import Panel, Point, svg
from regrain_watchdog.words import duration, share

STYLE = """body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:920px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:1rem 0}
th,td{text-align:left;padding:.25rem 1.2rem .25rem 0;border-bottom:1px solid #e5e7eb;font-variant-numeric:tabular-nums}
svg{max-width:100%;height:auto}.note{color:#92400e}"""

SHOWN = 6
"""Grains that a table names."""
LINE = 110
"""Letters that a title may have."""


def picture(reports: Sequence[Report]) -> str:
    """Return one SVG with the panels of every app; of two reports, with the lines of both."""
    return svg([panel for app in by_app(reports) for panel in panels(app)])


def page(reports: Sequence[Report]) -> str:
    """Return a report as HTML, with tables and pictures in it."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>Regrain load</title><style>{STYLE}</style></head><body><h1>{escape(_title(reports))}</h1>",
    ]
    parts += [f'<p class="note">{escape(note)}</p>' for report in reports for note in report.notes]
    if len(reports[0].apps) > 1:
        parts += ["<h2>All apps</h2>", _table(*totals(reports))]
    for app in by_app(reports):
        parts.append(f"<h2>{escape(app[0][1].app)}</h2>")
        parts.append(_table(*rows(app)))
        parts.append(svg(panels(app)))
    return "\n".join([*parts, "</body></html>\n"])


def rows(app: Sequence[tuple[Report, AppReport]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of one app: what each report says, and how far the second is from the first."""
    head = ["", *(report.source for report, _ in app)]
    told = [_facts(one) for _, one in app]
    made = [[name, *(facts.get(name, "-") for facts in told)] for name in dict.fromkeys(chain(*told))]
    if len(app) == 2:
        head.append("gap")
        apart = {name: _gap(name, *pair) for name, pair in gaps(app[0][1], app[1][1]).items()}
        made = [[*row, apart.get(row[0], "")] for row in made]
    return head, made


def totals(reports: Sequence[Report]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of all apps together."""
    sums = [total(report) for report in reports]
    head = ["", *(report.source for report in reports), *(["gap"] if len(reports) == 2 else [])]
    rows: list[tuple[str, Callable[[Total], float | None], Callable[[float | None], str]]] = [
        ("hit rate", lambda one: one.hit_rate, share),
        ("requests", lambda one: one.offered, _count),
        ("cost", lambda one: one.cost, _dollars),
        ("cost of 1,000", lambda one: one.per_thousand, _dollars),
        ("changes of plan", lambda one: one.changes, _count),
    ]
    body = []
    for name, value, text in rows:
        values = [value(one) for one in sums]
        body.append([name, *map(text, values), *([_gap(name, *values)] if len(values) == 2 else [])])
    return head, body


def panels(app: Sequence[tuple[Report, AppReport]]) -> list[Panel]:
    """Return what is drawn of an app: over time its load, hit rate, latency and cost, and how latencies are spread."""
    names = _names(app)

    def over_time(title: str, *kinds: tuple[str, Callable[[Bin], float | None]], top: float = 0.0) -> Panel:
        lines = {
            f"{name}{suffix}": list(_line(one, value))
            for suffix, (_, one) in zip(names, app, strict=True)
            for name, value in kinds
        }
        return Panel(title=title, lines=lines, unit="s", least_top=top)

    title = app[0][1].app
    made = [
        over_time(f"{title}: requests a second", ("offered", lambda bin_: bin_.rate)),
        over_time(f"{title}: hit rate", ("hit rate", lambda bin_: bin_.hit_rate), top=1.0),
        over_time(
            f"{title}: latency in ms",
            ("p50", lambda bin_: _milliseconds(bin_.p50)),
            ("p95", lambda bin_: _milliseconds(bin_.p95)),
        ),
    ]
    if any(one.cost is not None for _, one in app):
        made.append(over_time(f"{title}: dollars an hour reserved", ("cost", lambda bin_: bin_.cost)))
    if any(len(one.grains) > 1 for _, one in app):
        made.append(_grains(f"{title}: grain", names, [one for _, one in app]))
    spread = {
        f"answers{suffix}": [
            (1000 * value, part) for value, part in zip(one.distribution, SHARES, strict=False)
        ]
        for suffix, (_, one) in zip(names, app, strict=True)
    }
    made.append(Panel(title=f"{title}: share of answers within", lines=spread, unit="ms", least_top=1.0))
    return made


def _grains(title: str, names: Sequence[str], apps: Sequence[AppReport]) -> Panel:
    """Return the grain over time: each that was in force has a number, which the title tells as far as it can."""
    numbers = {
        grain: place for place, grain in enumerate(dict.fromkeys(g for a in apps for _, g in a.grains), 1)
    }
    lines: dict[str, list[Point]] = {}
    for suffix, app in zip(names, apps, strict=True):
        end = max(app.course[-1].begin if app.course else 0.0, app.grains[-1][0] if app.grains else 0.0)
        ends = [*(at for at, _ in app.grains[1:]), end]
        lines[f"grain{suffix}"] = [
            (at, float(numbers[grain]))
            for (begin, grain), until in zip(app.grains, ends, strict=False)
            for at in (begin, until)
        ]
    told = f"{title}: " + ", ".join(f"{number} = {grain}" for grain, number in numbers.items())
    return Panel(title=told if len(told) <= LINE else f"{told[: LINE - 1]}…", lines=lines, unit="s")


def _names(app: Sequence[tuple[Report, AppReport]]) -> list[str]:
    """Return what tells the lines of each report from those of the other."""
    if len(app) == 1:
        return [""]
    sources = [report.source for report, _ in app]
    return [f", {name}" for name in (sources if len(set(sources)) > 1 else ("this", "other"))]


def by_app(reports: Sequence[Report]) -> Iterator[list[tuple[Report, AppReport]]]:
    """Yield, for each app of the first report, what every report that has it says of it."""
    for app in reports[0].apps:
        yield [(report, one) for report in reports for one in report.apps if one.app == app.app]


def _title(reports: Sequence[Report]) -> str:
    first = reports[0]
    sources = " beside ".join(report.source for report in reports)
    return (
        f"Load, {sources}: {first.scenario or ', '.join(app.app for app in first.apps)}, {first.duration:g} s"
    )


def _facts(app: AppReport) -> dict[str, str]:
    missed = {name: count for name, count in app.outcomes.items() if count and name != "hit"}
    objective = (
        f" of {share(app.attainment)} within {duration(app.slo)}" if app.slo and app.attainment else ""
    )
    cost = app.cost.per_thousand if app.cost is not None else None
    return {
        "hit rate": share(app.hit_rate) + objective,
        "requests": f"{app.offered}, {app.rate:.1f}/s",
        "not hit": ", ".join(f"{count} {name}" for name, count in missed.items()) or "none",
        **{name: duration(app.latency.get(name)) for name in ("p50", "p95", "p99", "max")},
        "throughput": f"{app.throughput:.1f}/s",
        "cost of 1,000": _dollars(cost),
        "generator late": duration(app.lateness.p99) + " (p99)" if app.lateness is not None else "-",
        "grain": _grain(app.grains),
        **({"decisions": _decided(app.decisions)} if app.decisions is not None else {}),
    }


def _grain(grains: Sequence[tuple[float, str]]) -> str:
    """Say which grains were in force, since when; of many the first and the last ones."""
    if len(grains) < 2:
        return grains[0][1] if grains else "unknown"
    told = [f"{grain} from {at:.0f} s" for at, grain in grains]
    if len(told) > SHOWN:
        told = [*told[: SHOWN // 2], f"{len(told) - SHOWN + 1} more", *told[-(SHOWN // 2) + 1 :]]
    return "; ".join(told)


def _decided(decisions: Decisions) -> str:
    """Say how many decisions there were, and for which reasons."""
    reasons = sorted(decisions.reasons.items(), key=lambda one: (-one[1], one[0]))
    told = ", ".join(f"{count} {reason.lower()}" for reason, count in reasons)
    return f"{decisions.made}, {decisions.changes} for another plan" + (f" ({told})" if told else "")


def _count(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.0f}"


def _dollars(value: float | None) -> str:
    return "unknown" if value is None else f"${value:.4f}"


def _gap(name: str, one: float | None, other: float | None) -> str:
    """Say how far the second is from the first: in points where they are shares, else in percent."""
    if one is None or other is None:
        return ""
    if name == "hit rate":
        return f"{100 * (other - one):+.1f} points"
    return f"{100 * (other / one - 1):+.1f} %" if one else ""


def _line(app: AppReport, value: Callable[[Bin], float | None]) -> Iterator[Point]:
    """Yield the points of a line, each in the middle of its stretch."""
    begins = [bin_.begin for bin_ in app.course]
    half = (begins[1] - begins[0]) / 2 if len(begins) > 1 else 0.5
    for bin_ in app.course:
        told = value(bin_)
        yield bin_.begin + half, math.nan if told is None else told


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in body]
    return "\n".join([*lines, "</table>"])
