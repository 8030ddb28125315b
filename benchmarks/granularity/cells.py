"""The cells of the protocol: every combination of pipeline, setting, objective, load and arrivals, in order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from benchmarks.granularity.protocol import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination. `slo` is a multiple of the pipeline's warm latency."""

    part: str
    pipeline: str
    shares: str
    cards: int
    slo: float
    load: str
    arrivals: str

    @property
    def key(self) -> dict[str, object]:
        """What identifies it in a row."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.pipeline} {self.shares}x{self.cards} slo {self.slo:g} {self.load} {self.arrivals}"


def mixed(protocol: Protocol, found: list[Cell]) -> list[Cell]:
    """Return cells in the order in which they are run: mixed, so that a run that is cut short is a fair sample.

    The cells of the largest flow, which take longest by far, come last.
    """
    most = max(len(one.stages) for one in protocol.pipeline)
    sizes = {one.name: len(one.stages) for one in protocol.pipeline}
    return sorted(found, key=lambda cell: (sizes[cell.pipeline] == most, zlib.crc32(str(cell).encode())))


def cells(protocol: Protocol, part: str, only: tuple[str, ...] = ()) -> Iterator[Cell]:
    """Return the steady cells of a part of the grid; `only` names pipelines, by default all."""
    grid = protocol.grid[part]
    for pipeline in protocol.pipeline:
        if only and pipeline.name not in only:
            continue
        for shares in grid.shares:
            for cards in grid.cards:
                for arrivals in grid.arrivals:
                    for slo in protocol.slos(grid):
                        for load in protocol.loads(grid):
                            yield Cell(
                                part=part,
                                pipeline=pipeline.name,
                                shares=shares,
                                cards=cards,
                                slo=slo,
                                load=load,
                                arrivals=arrivals,
                            )
