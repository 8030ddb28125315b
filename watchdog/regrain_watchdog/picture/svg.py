"""Draw an app as SVG, and the same drawing as PNG.

The SVG is plain shapes with literal colours and no style sheet, so that every viewer shows the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from regrain.errors import RegrainError
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.picture.labels import batching, headline, needs, replicas
from regrain_watchdog.picture.layout import Box, Edge, Layout, arrange
from regrain_watchdog.picture.scene import ANSWER, links

FONT = "Inter, 'Segoe UI', 'Helvetica Neue', 'DejaVu Sans', Arial, sans-serif"
GLYPH, BOLD = 0.58, 1.1
"""Width of a letter by the font's size, and how much wider bold is: DejaVu Sans', the widest of FONT."""

INK, MUTED, LINE, PAPER = "#1e293b", "#64748b", "#7c8aa0", "#ffffff"
TINTS = (  # fill, border, title
    ("#eff6ff", "#bfdbfe", "#1d4ed8"),
    ("#f0fdf4", "#bbf7d0", "#15803d"),
    ("#fff7ed", "#fed7aa", "#c2410c"),
    ("#faf5ff", "#e9d5ff", "#7e22ce"),
    ("#fdf2f8", "#fbcfe8", "#be185d"),
    ("#f0fdfa", "#99f6e4", "#0f766e"),
)
MARGIN, HEADER, LEGEND = 24.0, 76.0, 44.0
NODE_HEIGHT, LINE_HEIGHT, PILL_HEIGHT = 48.0, 12.0, 30.0
ZOOM = 2.0
"""Pixels of the PNG per unit of the drawing, so that it is sharp on a dense screen."""

Size = tuple[float, float]


class PictureError(RegrainError):
    """A picture that cannot be drawn on this machine."""


def png(drawing: str) -> bytes:
    """Return a drawing as PNG; PictureError where the machine has no font to write with."""
    from resvg_py import svg_to_bytes  # noqa: PLC0415 - only a PNG needs it

    probe = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    written = probe.format(f'<text x="2" y="15" font-family="{FONT}">M</text>')
    if svg_to_bytes(svg_string=written) == svg_to_bytes(svg_string=probe.format("")):
        raise PictureError(
            "PNG needs a font and this machine has none: use --format svg, or install fonts-dejavu-core"
        )
    return bytes(svg_to_bytes(svg_string=drawing, zoom=ZOOM, background=PAPER))


def svg(manifest: Manifest, plan: Plan, *, heading: bool = True) -> str:
    """Return a drawing of an app's stages, in the groups of a plan; without a heading where there is one already.

    What belongs to a group or a stage is marked with data-group or data-stage, for pages that show it alive.
    """
    sources = [source for source, _ in links(manifest.graph)]
    sizes = {name: _size(manifest, name) for name in (*sources, *manifest.graph.stages, ANSWER)}
    groups = [group.stages for group in plan.groups]
    titles = [_width(_title(group), 12) * BOLD + _width(replicas(group), 11) + 14 for group in plan.groups]
    layout = arrange(manifest.graph, groups, sizes, titles)
    name, about = headline(manifest, plan)
    head = (
        [_text(MARGIN, 38, name, 20, INK, weight=700), _text(MARGIN, 58, about, 12, MUTED)] if heading else []
    )
    needed = max(layout.width, _width(name, 20) * BOLD, _width(about, 12)) if heading else layout.width
    top = HEADER if heading else MARGIN
    width, height = needed + 2 * MARGIN, layout.height + top + LEGEND + MARGIN
    shapes = [
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="14" fill="{PAPER}"/>',
        *head,
        f'<g transform="translate({MARGIN + (needed - layout.width) / 2:.1f} {top:.1f})">',
        *_body(manifest, plan, layout),
        "</g>",
        *_legend(manifest, height - 20),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" role="img">\n'
        f"<title>{escape(f'{name}: {plan.grain}')}</title>\n" + "\n".join(shapes) + "\n</svg>\n"
    )


def _body(manifest: Manifest, plan: Plan, layout: Layout) -> Iterator[str]:
    tints = {
        stage: TINTS[place % len(TINTS)] for place, group in enumerate(plan.groups) for stage in group.stages
    }
    for box, group in zip(layout.groups, plan.groups, strict=True):
        yield from _group(box, group, tints[group.stages[0]])
    for edge in layout.edges:
        yield from _arrow(edge, tints.get(edge.target, TINTS[0])[0])
    for name, box in layout.nodes.items():
        if name in tints:
            yield from _stage(manifest, box, tints[name])
        else:
            yield from _pill(box, "answer" if name == ANSWER else name.removeprefix("$"))


def _group(box: Box, group: Group, tint: tuple[str, str, str]) -> Iterator[str]:
    fill, border, ink = tint
    yield f'<g data-group="{escape(group.name)}">'
    yield _rect(box, 14, fill, border)
    yield _text(box.x + 16, box.y + 22, _title(group), 12, ink, weight=600)
    yield _text(box.x + box.width - 16, box.y + 22, replicas(group), 11, MUTED, anchor="end")
    yield "</g>"


def _stage(manifest: Manifest, box: Box, tint: tuple[str, str, str]) -> Iterator[str]:
    spec = manifest.stage(box.name)
    yield f'<g data-stage="{escape(box.name)}">'
    if spec.batched:  # a pile of cards: it takes several at once
        for step in (6.0, 3.0):
            card = Box(name="", x=box.x + step, y=box.y - step, width=box.width, height=box.height)
            yield _rect(card, 9, PAPER, tint[1])
    yield _rect(box, 9, PAPER, tint[2], stroke=1.4)
    middle = box.x + box.width / 2
    yield _text(middle, box.y + 21, box.name, 13, INK, weight=600, anchor="middle")
    yield _text(middle, box.y + 36, needs(spec), 10, MUTED, anchor="middle")
    if spec.batched:
        yield _text(middle, box.y + 50, batching(spec), 10, MUTED, anchor="middle")
    yield "</g>"


def _pill(box: Box, label: str) -> Iterator[str]:
    yield _rect(box, box.height / 2, "#f1f5f9", "#cbd5e1")
    yield _text(box.x + box.width / 2, box.y + 19.5, label, 12, MUTED, anchor="middle")


def _arrow(edge: Edge, behind: str) -> Iterator[str]:
    """One line, or (item by item) two with what is behind between them; both end in a head."""
    x, y = edge.points[-1]
    *front, _ = edge.points
    path = _path((*front, (x - 7, y)))
    if edge.mapped:
        yield f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="5"/>'
        yield f'<path d="{path}" fill="none" stroke="{behind}" stroke-width="2"/>'
    else:
        yield f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6"/>'
    yield f'<path d="M{x - 9:.1f} {y - 4.5:.1f}L{x:.1f} {y:.1f}L{x - 9:.1f} {y + 4.5:.1f}Z" fill="{LINE}"/>'


def _path(points: tuple[tuple[float, float], ...]) -> str:
    """Lines within the pairs of points, and between them curves that leave and arrive level."""
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for place, (x, y) in enumerate(points[1:], start=1):
        before_x, before_y = points[place - 1]
        if place % 2:
            parts.append(f"L{x:.1f} {y:.1f}")
        else:
            half = (before_x + x) / 2
            parts.append(f"C{half:.1f} {before_y:.1f} {half:.1f} {y:.1f} {x:.1f} {y:.1f}")
    return "".join(parts)


def _legend(manifest: Manifest, y: float) -> Iterator[str]:
    x = MARGIN
    marks = [("group", "one function: its stages run in one process")]
    if any(node.mapped for node in manifest.graph.nodes):
        marks.append(("map", "item by item (map)"))
    if any(stage.batched for stage in manifest.stages):
        marks.append(("batch", "batched"))
    for mark, label in marks:
        yield from _mark(mark, x, y)
        yield _text(x + 32, y, label, 11, MUTED)
        x += 32 + _width(label, 11) + 12


def _mark(mark: str, x: float, y: float) -> Iterator[str]:
    box = Box(name="", x=x, y=y - 10, width=22, height=13)
    if mark == "group":
        yield _rect(box, 4, TINTS[0][0], TINTS[0][1])
    elif mark == "map":
        points = ((x, y - 4), (x + 8, y - 4), (x + 12, y - 4), (x + 24, y - 4))
        yield from _arrow(Edge(source="", target="", mapped=True, points=points), PAPER)
    else:
        yield _rect(Box(name="", x=x + 3, y=y - 13, width=20, height=12), 3, PAPER, LINE)
        yield _rect(Box(name="", x=x, y=y - 10, width=20, height=12), 3, PAPER, LINE)


def _size(manifest: Manifest, name: str) -> Size:
    if name.startswith("$"):
        return _width(name.removeprefix("$") or "answer", 12) + 26, PILL_HEIGHT
    spec = manifest.stage(name)
    widest = max(_width(name, 13) * BOLD, _width(needs(spec), 10), _width(batching(spec), 10), 64.0)
    return widest + 28, NODE_HEIGHT + (LINE_HEIGHT if spec.batched else 0.0)


def _title(group: Group) -> str:
    return " + ".join(group.stages)


def _width(text: str, size: float) -> float:
    return len(text) * size * GLYPH


def _rect(box: Box, radius: float, fill: str, border: str, *, stroke: float = 1.2) -> str:
    return (
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius:.1f}" fill="{fill}" stroke="{border}" stroke-width="{stroke}"/>'
    )


def _text(
    x: float, y: float, text: str, size: float, ink: str, *, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{ink}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
