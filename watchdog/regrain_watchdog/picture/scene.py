"""What stands where in a picture, in columns and heights: groups, stages, and lanes for edges.

Groups stand in ranks (no edge leads to an earlier rank), their stages in columns inside. An edge that skips
columns runs in lanes of its own, so it never crosses a stage. Heights are settled by least squares: each
thing wants to be level with its neighbours, and a stage wants it more than a lane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from regrain.graph import Graph, refs
from regrain_watchdog.picture.settle import Item, settle

ANSWER = "$"
"""The node that takes what the flow returns. Inputs are "$name" and stages have no "$"."""

PADDING = 16.0
TITLE = 24.0
ROW_GAP = 20.0
LANE = 12.0
SWEEPS = 12
PASSES = 2
"""The first gives heights to everything; by them the second orders what the group alone leaves open."""
STAGE_WEIGHT = 1e4
OTHER_WEIGHT = 1.0
"""Of inputs and lanes: so little that a chain of stages stays straight (one bends it by 10 / 1e4 units)."""


@dataclass(slots=True, eq=False)
class Block:
    """Cells that move up and down together: a group's, or one alone. Its box is `columns` wide."""

    rank: int
    columns: int = 1
    first: int = 0
    margin: float = 0.0
    title: float = 0.0
    y: float = 0.0
    cells: list[Cell] = field(default_factory=list)

    @property
    def above(self) -> float:
        """How far it reaches above its `y`."""
        head = self.margin + TITLE if self.margin else 0.0
        return head - min(cell.offset - cell.height / 2 for cell in self.cells)

    @property
    def below(self) -> float:
        """How far it reaches below its `y`."""
        return self.margin + max(cell.offset + cell.height / 2 for cell in self.cells)


@dataclass(slots=True, eq=False)
class Cell:
    """A node, or an edge's lane in one column; `offset` is its height relative to its block's."""

    block: Block
    column: int
    width: float
    height: float
    weight: float
    offset: float = 0.0
    neighbours: list[Cell] = field(default_factory=list)

    @property
    def y(self) -> float:
        """Where its middle is in the picture."""
        return self.block.y + self.offset


Links = Mapping[tuple[str, str], bool]


def links(graph: Graph) -> dict[tuple[str, str], bool]:
    """Return the edges (source, target), those of inputs and ANSWER too, and whether each is a map's."""
    found: dict[tuple[str, str], bool] = {}
    for node in graph.nodes:
        for arg in (*node.args, *node.kwargs.values()):
            for ref in refs(arg):
                found.setdefault((ref.node, node.stage), False)
        walked = {ref.node for arg in node.args for ref in refs(arg)} if node.mapped else set()
        for source in walked:
            found[source, node.stage] = True
    for ref in refs(graph.output):
        found[ref.node, ANSWER] = False
    return found


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a picture shows, with its column and height.

    boxes: the groups' blocks, in the groups' order. lanes: the cells between an edge's ends, left to right.
    """

    blocks: list[Block]
    boxes: list[Block]
    cells: dict[str, Cell]
    edges: dict[tuple[str, str], bool]
    lanes: dict[tuple[str, str], list[Cell]]


def build(
    graph: Graph,
    groups: Sequence[tuple[str, ...]],
    sizes: Mapping[str, tuple[float, float]],
    titles: Sequence[float],
) -> Scene:
    """Give every node and every edge of a DAG its column and height, with arguments as `layout.arrange`."""
    edges = links(graph)
    boxes = [Block(rank=1, margin=PADDING, title=title) for title in titles]
    cells = _cells(graph, groups, boxes, edges, sizes)
    ranks = _ranks(cells)
    lanes = {(source, target): _lanes(cells[source], cells[target], ranks) for source, target in edges}
    every = [*cells.values(), *(lane for run in lanes.values() for lane in run)]
    blocks = list(dict.fromkeys(cell.block for cell in every))
    for _ in range(PASSES):
        for block in blocks:
            _settle_inside(block)
        _settle_ranks(blocks)
    return Scene(blocks, boxes, cells, edges, lanes)


def _cells(
    graph: Graph,
    groups: Sequence[tuple[str, ...]],
    boxes: Sequence[Block],
    edges: Links,
    sizes: Mapping[str, tuple[float, float]],
) -> dict[str, Cell]:
    """A cell per node, in its block; columns are counted inside the block for now."""
    home = {stage: box for group, box in zip(groups, boxes, strict=True) for stage in group}
    for stages, box in zip(groups, boxes, strict=True):  # in topological order, so parents have their rank
        parents = {home[s] for s, t in edges if t in stages and s in home} - {box}
        box.rank = 1 + max((parent.rank for parent in parents), default=0)
    inner: dict[str, int] = {}
    for stage in graph.stages:
        inside = [inner[parent] + 1 for parent in graph.parents(stage) if home[parent] is home[stage]]
        inner[stage] = max(inside, default=0)
        home[stage].columns = max(home[stage].columns, inner[stage] + 1)
    for name in dict.fromkeys(source for source, _ in edges if source not in home):
        readers = [home[t].rank for s, t in edges if s == name and t in home]
        home[name] = Block(rank=min(readers, default=1) - 1)
    home[ANSWER] = Block(rank=1 + max(box.rank for box in boxes))
    cells = {}
    for name, block in home.items():
        weight = STAGE_WEIGHT if name in inner else OTHER_WEIGHT
        cells[name] = Cell(block, inner.get(name, 0), *sizes[name], weight=weight)
        block.cells.append(cells[name])
    return cells


def _ranks(cells: Mapping[str, Cell]) -> list[int]:
    """Give every cell its column in the picture; return the rank of each column."""
    blocks = {cell.block: None for cell in cells.values()}
    ranks: list[int] = []
    for rank in range(1 + max(block.rank for block in blocks)):
        here = [block for block in blocks if block.rank == rank]
        width = max((block.columns for block in here), default=0)
        for block in here:
            block.first = len(ranks) + (width - block.columns) // 2
        ranks += [rank] * width
    for cell in cells.values():
        cell.column += cell.block.first
    return ranks


def _lanes(source: Cell, target: Cell, ranks: Sequence[int]) -> list[Cell]:
    """Lanes for an edge in the columns between its ends; links ends and lanes to each other."""
    lanes = []
    free: dict[int, Block] = {}
    for column in range(source.column + 1, target.column):
        rank = ranks[column]
        ends = {source.block.rank: source.block, target.block.rank: target.block}
        block = ends[rank] if rank in ends else free.setdefault(rank, Block(rank=rank))
        lanes.append(Cell(block, column, 0.0, LANE, OTHER_WEIGHT))
        block.cells.append(lanes[-1])
    chain = [source, *lanes, target]
    for left, right in pairwise(chain):
        left.neighbours.append(right)
        right.neighbours.append(left)
    return lanes


def _settle_inside(block: Block) -> None:
    """Order and place a block's cells, column by column, forth and back."""
    columns = sorted({cell.column for cell in block.cells})
    for sweep in range(SWEEPS):
        for column in columns if sweep % 2 == 0 else reversed(columns):
            cells = [cell for cell in block.cells if cell.column == column]
            cells.sort(key=lambda cell: _mean([(n.y, n.weight) for n in cell.neighbours], cell.y))
            items = [_item(cell) for cell in cells]
            for cell, place in zip(cells, settle(items, ROW_GAP), strict=True):
                cell.offset = place


def _item(cell: Cell) -> Item:
    inside = [(n.offset, n.weight) for n in cell.neighbours if n.block is cell.block]
    half = cell.height / 2
    return Item(wish=_mean(inside, cell.offset), above=half, below=half, weight=cell.weight)


def _mean(pulls: Sequence[tuple[float, float]], otherwise: float) -> float:
    """The mean of values by their weights; `otherwise` if there are none."""
    weight = sum(weight for _, weight in pulls)
    return sum(value * weight for value, weight in pulls) / weight if pulls else otherwise


def _settle_ranks(blocks: Sequence[Block]) -> None:
    """Order and place the blocks, rank by rank, forth and back."""
    ranks = sorted({block.rank for block in blocks})
    for sweep in range(SWEEPS):
        for rank in ranks if sweep % 2 == 0 else reversed(ranks):
            here = [block for block in blocks if block.rank == rank]
            wishes = {block: _block_level(block) for block in here}
            here.sort(key=wishes.__getitem__)
            items = [
                Item(wish=wishes[b], above=b.above, below=b.below, weight=max(c.weight for c in b.cells))
                for b in here
            ]
            for block, place in zip(here, settle(items, ROW_GAP), strict=True):
                block.y = place


def _block_level(block: Block) -> float:
    """Where a block would be level with what it is linked to outside."""
    pulls = [
        (neighbour.y - cell.offset, min(cell.weight, neighbour.weight))
        for cell in block.cells
        for neighbour in cell.neighbours
        if neighbour.block is not block
    ]
    return _mean(pulls, block.y)
