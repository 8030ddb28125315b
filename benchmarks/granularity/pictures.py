"""Two pictures of the results: cost against hit rate for all policies, and how gains are spread over cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 900, 70, 210, 44, 44
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#0891b2", "#4b5563", "#be185d")
FONT = 'font-family="\'DejaVu Sans\', Arial, sans-serif" font-size="12" fill="#374151"'
Point = tuple[float, float]


def scatter(title: str, across: str, up: str, points: Mapping[str, Point]) -> str:
    """Return a picture of named points."""
    height = 520
    xs, ys = [x for x, _ in points.values()], [y for _, y in points.values()]
    low, high = 0.95 * min(xs), 1.05 * max(xs)
    bottom, top = min(ys) - 0.02, min(1.0, max(ys) + 0.02)

    def place(x: float, y: float) -> Point:
        return (
            LEFT + (x - low) / (high - low) * (WIDTH - LEFT - RIGHT),
            height - BOTTOM - (y - bottom) / (top - bottom) * (height - TOP - BOTTOM),
        )

    parts = _frame(title, height)
    for step in range(5):
        x, y = low + (high - low) * step / 4, bottom + (top - bottom) * step / 4
        (left, down), (_, line) = place(x, bottom), place(low, y)
        parts.append(f'<path d="M{LEFT} {line:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text {FONT} x="{LEFT - 8}" y="{line + 4:.1f}" text-anchor="end">{y:.2f}</text>')
        parts.append(f'<text {FONT} x="{left:.1f}" y="{down + 18:.1f}" text-anchor="middle">{x:.2f}</text>')
    parts.append(f'<text {FONT} x="{LEFT}" y="{height - 8}">{escape(across)}</text>')
    parts.append(f'<text {FONT} x="{LEFT}" y="{TOP - 8}">{escape(up)}</text>')
    for number, (name, point) in enumerate(sorted(points.items(), key=lambda one: -one[1][1])):
        x, y = place(*point)
        colour = COLOURS[number % len(COLOURS)]
        level = TOP + 8 + 19 * number
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>')
        parts.append(f'<text {FONT} x="{x + 9:.1f}" y="{y + 4:.1f}">{number + 1}</text>')
        parts.append(f'<circle cx="{WIDTH - RIGHT + 16}" cy="{level - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text {FONT} x="{WIDTH - RIGHT + 28}" y="{level}">{number + 1} {escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def spread(title: str, unit: str, values: Mapping[str, Sequence[float]], bar: float) -> str:
    """Return a picture with a row for each name: a dot for each cell, the median, and the bar as a line."""
    height = TOP + BOTTOM + 40 * len(values)
    every = [one for row in values.values() for one in row] or [0.0]
    low, high = min(-10.0, *every), max(10.0, bar, *every)

    def across(x: float) -> float:
        return 190 + (x - low) / (high - low) * (WIDTH - 220)

    parts = _frame(title, height)
    for mark in range(-100, 101, 20):
        if low <= mark <= high:
            x = across(mark)
            parts.append(f'<path d="M{x:.1f} {TOP}V{height - BOTTOM}" stroke="#e5e7eb"/>')
            parts.append(f'<text {FONT} x="{x:.1f}" y="{height - 24}" text-anchor="middle">{mark}</text>')
    x = across(bar)
    parts.append(f'<path d="M{x:.1f} {TOP}V{height - BOTTOM}" stroke="#dc2626" stroke-dasharray="4 3"/>')
    for number, (name, row) in enumerate(values.items()):
        y = TOP + 20 + 40 * number
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<text {FONT} x="180" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        for place, one in enumerate(row):
            down = y - 9 + 18 * (place * 0.618 % 1)
            parts.append(
                f'<circle cx="{across(one):.1f}" cy="{down:.1f}" r="2.5" fill="{colour}" fill-opacity="0.45"/>'
            )
        if row:
            middle = across(sorted(row)[len(row) // 2])
            parts.append(f'<path d="M{middle:.1f} {y - 14}v28" stroke="#111827" stroke-width="2"/>')
    parts.append(f'<text {FONT} x="190" y="{height - 8}">{escape(unit)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _frame(title: str, height: int) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text {FONT} font-weight="bold" x="{LEFT}" y="20">{escape(title)}</text>',
    ]
