"""Turn a scene into measures: widths of columns, corners of boxes, points of arrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regrain.graph import Graph
from regrain_watchdog.picture import scene
from regrain_watchdog.picture.scene import PADDING, Cell, Scene

COLUMN_GAP = 48.0
GROUP_GAP = 34.0
PORT = 11.0
"""Between two arrows that end at one node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle; x and y are its left and upper edge."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """An arrow. Its points come in pairs: a line joins a pair, a curve leads from one pair to the next."""

    source: str
    target: str
    mapped: bool
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A picture's geometry; its upper left corner is at 0, 0."""

    width: float
    height: float
    nodes: dict[str, Box]
    groups: tuple[Box, ...]
    edges: tuple[Edge, ...]


def arrange(
    graph: Graph,
    groups: Sequence[tuple[str, ...]],
    sizes: Mapping[str, tuple[float, float]],
    titles: Sequence[float],
) -> Layout:
    """Lay out a DAG cut into groups, which come in topological order.

    `sizes` gives the width and height of every stage, used input ("$name") and of scene.ANSWER; `titles` the
    width of each group's title.
    """
    found = scene.build(graph, groups, sizes, titles)
    columns = _columns(found)
    top = min(block.y - block.above for block in found.blocks)
    nodes = {name: _node(name, cell, columns[cell.column], top) for name, cell in found.cells.items()}
    boxes = []
    for stages, block in zip(groups, found.boxes, strict=True):
        left = columns[block.first][0] - PADDING
        width = columns[block.first + block.columns - 1][1] + PADDING - left
        upper = block.y - block.above - top
        height = block.above + block.below
        boxes.append(Box(name="+".join(stages), x=left, y=upper, width=width, height=height))
    return Layout(
        width=columns[-1][1] + PADDING,
        height=max(block.y + block.below for block in found.blocks) - top,
        nodes=nodes,
        groups=tuple(boxes),
        edges=_edges(found, nodes, columns, top),
    )


def _columns(found: Scene) -> list[tuple[float, float]]:
    """The left and right edge of every column."""
    widths: dict[int, float] = {}
    ranks: dict[int, int] = {}
    for block in found.blocks:
        for cell in block.cells:
            widths[cell.column] = max(widths.get(cell.column, 0.0), cell.width)
            ranks[cell.column] = block.rank
    for block in found.boxes:  # a title may need more than the stages below it
        own = range(block.first, block.first + block.columns)
        lack = block.title - sum(widths[column] for column in own) - COLUMN_GAP * (block.columns - 1)
        for column in own:
            widths[column] += max(lack, 0.0) / block.columns
    edges, x = [], PADDING
    for column in sorted(widths):
        edges.append((x, x + widths[column]))
        same_rank = ranks.get(column + 1) == ranks[column]
        x += widths[column] + (COLUMN_GAP if same_rank else 2 * PADDING + GROUP_GAP)
    return edges


def _node(name: str, cell: Cell, column: tuple[float, float], top: float) -> Box:
    """A node stands in the middle of its column."""
    x = (column[0] + column[1] - cell.width) / 2
    y = cell.y - cell.height / 2 - top
    return Box(name=name, x=x, y=y, width=cell.width, height=cell.height)


def _edges(
    found: Scene, nodes: Mapping[str, Box], columns: Sequence[tuple[float, float]], top: float
) -> tuple[Edge, ...]:
    ports = _ports(found)
    edges = []
    for (source, target), mapped in found.edges.items():
        start, end = nodes[source], nodes[target]
        first, last = columns[found.cells[source].column], columns[found.cells[target].column]
        level = end.y + end.height / 2 + ports[source, target]
        points = [(start.x + start.width, start.y + start.height / 2), (first[1], start.y + start.height / 2)]
        for lane in found.lanes[source, target]:
            points += [(edge, lane.y - top) for edge in columns[lane.column]]
        points += [(last[0], level), (end.x, level)]
        edges.append(Edge(source=source, target=target, mapped=mapped, points=tuple(points)))
    return tuple(edges)


def _ports(found: Scene) -> dict[tuple[str, str], float]:
    """How far above or below a node's middle each arrow ends: in the order in which the arrows come in."""
    ports = {}
    for target in {target for _, target in found.edges}:
        coming = [edge for edge in found.edges if edge[1] == target]
        coming.sort(key=lambda edge: [found.cells[edge[0]], *found.lanes[edge]][-1].y)
        for place, edge in enumerate(coming):
            ports[edge] = (place - (len(coming) - 1) / 2) * PORT
    return ports
