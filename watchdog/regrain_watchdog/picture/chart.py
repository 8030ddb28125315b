"""Draw what was measured as an SVG: panels one above the other, a line or more in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 190
"""Pixels of one panel."""
LEFT, RIGHT, TOP, BOTTOM = 60, 180, 34, 26
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#4b5563", "#be185d")
STYLE = "text{font:12px system-ui,sans-serif;fill:#374151}.title{font-weight:600}"

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What one panel shows.

    Attributes:
        title: above it.
        lines: by name, points (x, y) in the order of x, none negative; a y that is NaN leaves a gap.
        unit: of x.
        least_top: the y that the axis reaches at least, such as 1 for shares.
    """

    title: str
    lines: Mapping[str, Sequence[Point]]
    unit: str
    least_top: float = 0.0


def svg(panels: Sequence[Panel]) -> str:
    """Return a picture of some panels, one above the other; all axes begin at 0."""
    height = HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {place * HEIGHT})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def over(times: Sequence[float], values: Sequence[float]) -> list[Point]:
    """Return the points of a line that has a value for each time."""
    return list(zip(times, values, strict=True))


@dataclass(frozen=True, slots=True)
class _Axes:
    """The ends of both axes."""

    span: float
    top: float

    def across(self, x: float) -> float:
        return LEFT + x / self.span * (WIDTH - RIGHT - LEFT)

    def up(self, y: float) -> float:
        return HEIGHT - BOTTOM - y / self.top * (HEIGHT - BOTTOM - TOP)


def _panel(panel: Panel) -> list[str]:
    seen = [(x, y) for line in panel.lines.values() for x, y in line if math.isfinite(y)]
    axes = _Axes(
        _round(max((x for x, _ in seen), default=1.0)),
        _round(max([panel.least_top, *(y for _, y in seen)])),
    )
    parts = [f'<text class="title" x="{LEFT}" y="{TOP - 14}">{escape(panel.title)}</text>']
    parts += _grid(axes, panel.unit)
    for place, (name, line) in enumerate(panel.lines.items()):
        parts += _line(axes, place, name, line)
    return parts


def _grid(axes: _Axes, unit: str) -> list[str]:
    parts = []
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = axes.up(axes.top * share), axes.across(axes.span * share)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{axes.top * share:g}</text>')
        told = f"{axes.span * share:g}" + (f" {unit}" if share == 1.0 else "")
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{escape(told)}</text>')
    return parts


def _line(axes: _Axes, place: int, name: str, line: Sequence[Point]) -> list[str]:
    colour = COLOURS[place % len(COLOURS)]
    parts = []
    for drawn, run in groupby(line, key=lambda point: math.isfinite(point[1])):
        if drawn:
            points = " ".join(f"{axes.across(x):.1f},{axes.up(y):.1f}" for x, y in run)
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    right, y = WIDTH - RIGHT, TOP + 12 + 18 * place
    parts.append(f'<path d="M{right + 10} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
    parts.append(f'<text x="{right + 32}" y="{y}">{escape(name)}</text>')
    return parts


def _round(most: float) -> float:
    """Return the end of an axis of four steps that holds `most`: four times 1, 1.5, 2, 2.5, 3, 4, 5 or 7.5 tens."""
    step = max(most, 1e-9) / 4
    tens = 10.0 ** math.floor(math.log10(step))
    return 4 * tens * next(nice for nice in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if nice * tens >= step)
