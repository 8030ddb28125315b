"""A picture of who held which part of a GPU when: as SVG, or as a trace for chrome://tracing and Perfetto.

The arbiter grants so many SMs, not which ones. For the picture each lease gets the lowest that are free, so that height
is SMs and area is SM-seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

import msgspec

from regrain.wire.lease import Hold
from regrain_watchdog.picture.svg import FONT, INK, LINE, MUTED, PAPER
from regrain_watchdog.words import duration

COLOURS = ("#3b82f6", "#22c55e", "#f97316", "#a855f7", "#ec4899", "#14b8a6", "#eab308", "#64748b")
OVERUSE = "#dc2626"
WIDTH, HEIGHT, MARGIN, HEADER, ROW = 960.0, 240.0, 24.0, 56.0, 18.0
TICKS = 8
MICROSECONDS = 1e6
Box = tuple[float, float, float, float]
"""x, y, width, height."""


def svg(holds: Sequence[Hold], sms: int, *, title: str = "GPU") -> str:
    """Return a drawing of these leases on a device of `sms` SMs; time runs to the right, in seconds from the first."""
    start = min((hold.start for hold in holds), default=0.0)
    length = max((hold.end for hold in holds), default=start) - start or 1.0
    names = sorted({hold.name for hold in holds})
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}
    width, height = WIDTH + 2 * MARGIN, HEADER + HEIGHT + 30 + ROW * len(names) + MARGIN
    shapes = [
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="14" fill="{PAPER}"/>',
        _text(MARGIN, 28, title, 16, INK),
        _text(MARGIN, 44, f"{sms} SMs, {duration(length)}", 11, MUTED),
        *_leases(holds, sms, start, length, colours),
        *_axis(length),
        *_legend(holds, sms, length, colours),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" role="img">\n'
        f"<title>{escape(title)}</title>\n" + "\n".join(shapes) + "\n</svg>\n"
    )


def trace(holds: Sequence[Hold]) -> bytes:
    """Return these leases in the Trace Event Format (JSON): a thread per client, SMs in use as a counter."""
    events: list[dict[str, object]] = []
    for pid, name in sorted({(hold.pid, hold.name) for hold in holds}):
        events.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}})
    for hold in holds:
        arguments = {"sms": hold.sms, "lease": hold.lease, "overuse_s": hold.overuse}
        events.append(
            {
                "ph": "X",
                "name": f"{hold.name} {hold.sms} SMs",
                "cat": "lease",
                "pid": hold.pid,
                "tid": hold.client,
                "ts": hold.start * MICROSECONDS,
                "dur": (hold.end - hold.start) * MICROSECONDS,
                "args": arguments,
            }
        )
    in_use = 0
    for time, change in sorted(_changes(holds)):
        in_use += change
        events.append(
            {"ph": "C", "name": "SMs", "pid": 0, "ts": time * MICROSECONDS, "args": {"in use": in_use}}
        )
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"})


def places(holds: Sequence[Hold], sms: int) -> Iterator[tuple[Hold, list[tuple[int, int]]]]:
    """Yield each lease with the runs of SMs (first, count) that the picture gives it: no SM to two at once."""
    free_from = [float("-inf")] * sms
    for hold in sorted(holds, key=lambda each: (each.start, each.lease)):
        free = [place for place, time in enumerate(free_from) if time <= hold.start][: hold.sms]
        runs: list[tuple[int, int]] = []
        for place in free:
            free_from[place] = hold.end
            if runs and sum(runs[-1]) == place:
                runs[-1] = (runs[-1][0], runs[-1][1] + 1)
            else:
                runs.append((place, 1))
        yield hold, runs


def _changes(holds: Sequence[Hold]) -> Iterator[tuple[float, int]]:
    for hold in holds:
        yield hold.start, hold.sms
        yield hold.end, -hold.sms


def _leases(
    holds: Sequence[Hold], sms: int, start: float, length: float, colours: dict[str, str]
) -> Iterator[str]:
    scale, unit = WIDTH / length, HEIGHT / sms
    yield _rect((MARGIN, HEADER, WIDTH, HEIGHT), "#f8fafc", LINE)
    for hold, runs in places(holds, sms):
        x, wide = MARGIN + (hold.start - start) * scale, (hold.end - hold.start) * scale
        over = min(hold.overuse * scale, wide)
        about = escape(f"{hold.name} (process {hold.pid}): {hold.sms} SMs, {duration(hold.end - hold.start)}")
        yield f"<g><title>{about}</title>"
        for first, count in runs:
            y, high = HEADER + HEIGHT - (first + count) * unit, count * unit
            yield _rect((x, y, wide, high), colours[hold.name], PAPER)
            if over:
                yield _rect((x + wide - over, y, over, high), OVERUSE, PAPER)
        yield "</g>"


def _axis(length: float) -> Iterator[str]:
    for tick in range(TICKS + 1):
        x = MARGIN + WIDTH * tick / TICKS
        yield _text(x, HEADER + HEIGHT + 16, duration(length * tick / TICKS), 10, MUTED, anchor="middle")


def _legend(holds: Sequence[Hold], sms: int, length: float, colours: dict[str, str]) -> Iterator[str]:
    for row, (name, colour) in enumerate(colours.items()):
        y = HEADER + HEIGHT + 34 + ROW * row
        had = sum((hold.end - hold.start) * hold.sms for hold in holds if hold.name == name)
        over = sum(hold.overuse for hold in holds if hold.name == name)
        late = f", {duration(over)} over time (red)" if over else ""
        yield _rect((MARGIN, y, 12, 12), colour, colour)
        text = f"{name}: {had:.3g} SM-seconds, {had / (sms * length):.1%} of the device{late}"
        yield _text(MARGIN + 20, y + 10, text, 11, INK)


def _rect(box: Box, fill: str, border: str) -> str:
    x, y, width, height = box
    return (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" '
        f'fill="{fill}" stroke="{border}" stroke-width="0.5"/>'
    )


def _text(x: float, y: float, text: str, size: int, fill: str, *, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
