"""Draw what was measured over time as an SVG: panels one above the other, a line or more in each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 190
"""Pixels of one panel."""
LEFT, RIGHT, TOP, BOTTOM = 60, 150, 34, 26
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed")
STYLE = "text{font:12px system-ui,sans-serif;fill:#374151}.title{font-weight:600}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """What one panel shows: lines by name, each a value for every time; both axes begin at 0."""

    title: str
    lines: Mapping[str, Sequence[float]]


def svg(times: Sequence[float], panels: Sequence[Panel], *, unit: str) -> str:
    """Return a picture of some panels over the same times, which are in `unit`."""
    height = HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {place * HEIGHT})">', *_panel(times, panel, unit), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _panel(times: Sequence[float], panel: Panel, unit: str) -> list[str]:
    most = _round(max(max(values) for values in panel.lines.values()))
    span = _round(times[-1])
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(time: float) -> float:
        return LEFT + time / span * (right - LEFT)

    def up(value: float) -> float:
        return bottom - value / most * (bottom - TOP)

    parts = [f'<text class="title" x="{LEFT}" y="{TOP - 14}">{escape(panel.title)}</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = up(most * share), across(span * share)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{most * share:g}</text>')
        time = f"{span * share:g}" + (f" {unit}" if share == 1.0 else "")
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{time}</text>')
    for place, (name, values) in enumerate(panel.lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = " ".join(
            f"{across(time):.1f},{up(value):.1f}" for time, value in zip(times, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = TOP + 12 + 18 * place
        parts.append(f'<path d="M{right + 10} {y - 4}h16" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{right + 32}" y="{y}">{escape(name)}</text>')
    return parts


def _round(most: float) -> float:
    """Return the end of an axis of four steps that holds `most`: four times 1, 1.5, 2, 2.5, 3, 4, 5 or 7.5 tens."""
    step = max(most, 1e-9) / 4
    tens = 10.0 ** math.floor(math.log10(step))
    return 4 * tens * next(nice for nice in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10) if nice * tens >= step)
