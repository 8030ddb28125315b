"""A picture of the cells: what each predictor said against what was observed, a dot for each."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.cells.rows import CELL
from benchmarks.cells.summary import BARS, NAMES, POISSON
from benchmarks.record import Record
from regrain_watchdog.picture.chart import COLOURS, STYLE

SIDE, GAP, HEAD = 300, 60, 40
"""Pixels of a square, between squares, and above them."""
MARKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def picture(lines: Sequence[Record]) -> str:
    """Return the picture, an SVG: a square for each predictor; dots on its diagonal are right."""
    cells = [line for line in lines if line["kind"] == CELL]
    width, height = GAP + 2 * (SIDE + GAP), HEAD + 2 * (SIDE + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>',
        f'<circle cx="{GAP}" cy="16" r="4" fill="{COLOURS[0]}"/><text x="{GAP + 10}" y="20">Poisson</text>',
        f'<circle cx="{GAP + 90}" cy="16" r="4" fill="{COLOURS[1]}"/><text x="{GAP + 100}" y="20">bursty</text>',
    ]
    for place, name in enumerate(NAMES):
        left, top = GAP + (SIDE + GAP) * (place % 2), HEAD + (SIDE + GAP) * (place // 2)
        parts += [f'<g transform="translate({left} {top})">', *_square(name, cells), "</g>"]
    return "\n".join([*parts, "</svg>\n"])


def _square(name: str, cells: Sequence[Record]) -> list[str]:
    off = f", dashed: {BARS[name]:g} points off" if name in BARS else ""
    parts = [
        f'<text class="title" x="0" y="-6">{escape(name)}: predicted (up) against observed{off}</text>',
        f'<path d="M0 {SIDE}L{SIDE} 0" stroke="#9ca3af"/>',
    ]
    for mark in MARKS:
        at = SIDE * mark
        parts.append(f'<path d="M{at} 0V{SIDE}M0 {at}H{SIDE}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{at}" y="{SIDE + 16}" text-anchor="middle">{mark:g}</text>')
        parts.append(f'<text x="-8" y="{SIDE - at + 4}" text-anchor="end">{mark:g}</text>')
    if name in BARS:
        far = SIDE * BARS[name] / 100.0
        lines = f"M0 {SIDE - far}L{SIDE - far} 0M{far} {SIDE}L{SIDE} {far}"
        parts.append(f'<path d="{lines}" stroke="#dc2626" stroke-dasharray="4 3"/>')
    for cell in cells:
        x, y = SIDE * float(str(cell["observed"])), SIDE * (1.0 - float(str(cell[name])))
        colour = COLOURS[0] if cell["process"] == POISSON else COLOURS[1]
        title = escape(f"cell {cell['number']}: {cell['pipeline']}, {cell['process']}, {cell['grain']}")
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}" fill-opacity="0.6">'
            f"<title>{title}</title></circle>"
        )
    return parts
