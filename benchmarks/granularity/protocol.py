"""The protocol as a value: what is compared, on what, and what counts as winning; from protocol.toml, checked."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
from msgspec import Struct

from regrain.errors import SpecError
from regrain.units import parse_bytes
from regrain_runtime.emulated.models import model_named

FILE = Path(__file__).parent / "protocol.toml"
LOADS = ("light", "normal", "heavy")
SYNTHETIC = ("poisson", "mmpp")
GEOMETRIC, UNIFORM = "geometric", "uniform"


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Seeds(Part, frozen=True):
    test: int
    first: int
    calibration: int


class CellSize(Part, frozen=True):
    requests: int
    warm_up: float


class Truth(Part, frozen=True):
    card: str
    jitter: float
    drift: float
    interference: float
    measured_calls: int
    context: str
    activation: str
    load_start: float
    hop: float
    cpu_jitter: float


class PriceList(Part, frozen=True):
    gpu: float
    core: float
    memory: float
    request: float


class Objective(Part, frozen=True):
    multiples: tuple[float, ...]
    attainment: float


class LoadParts(Part, frozen=True):
    light: float
    normal: float
    heavy: float

    def part(self, name: str) -> float:
        return float(getattr(self, name))


class ArrivalKind(Part, frozen=True):
    """How requests come: `factors` and `dwell` of an MMPP, or the `file` of a trace; none of them for Poisson."""

    factors: tuple[float, ...] = ()
    dwell: tuple[float, ...] = ()
    file: str = ""
    rescale: str = ""
    width: str = ""


class Traces(Part, frozen=True):
    calibration: float
    seeds: int


class PlannerLimits(Part, frozen=True):
    batches: tuple[int, ...]
    waits: tuple[float, ...]
    replicas: int
    shares: dict[str, tuple[float, ...]]
    cores: float
    memory: str


class Controlling(Part, frozen=True):
    period: float


class Grid(Part, frozen=True):
    shares: tuple[str, ...]
    cards: tuple[int, ...]
    slo: tuple[float, ...] | str
    load: tuple[str, ...] | str
    arrivals: tuple[str, ...]


class Days(Part, frozen=True):
    count: int
    hours: float
    dwell: float
    load: tuple[str, ...]
    slo: tuple[float, ...]
    arrivals: tuple[str, ...]
    cards: int
    draw: str


class Shared(Part, frozen=True):
    """Apps on one node: each with an objective of `slo` times its warm latency, and days of so many hours."""

    pipelines: tuple[str, ...]
    cards: int
    days: int
    hours: float
    slo: float


class Policies(Part, frozen=True):
    names: tuple[str, ...]


class Wins(Part, frozen=True):
    hit_rate: float
    cost: float
    block: float
    resamples: int


class ListLaw(Part, frozen=True):
    """How many items a list has: geometric from 1 on with a `mean`, at most `most`; or even from `least` to `most`."""

    law: str
    most: int
    mean: float = 0.0
    least: int = 1


class StageLaw(Part, frozen=True):
    """What a stage stands for: a `model` and a `scale` on a GPU, or `seconds` on a core."""

    name: str
    model: str = ""
    scale: float = 1.0
    seconds: float = 0.0
    map: str = ""
    after: tuple[str, ...] | None = None


class Pipeline(Part, frozen=True):
    name: str
    stages: tuple[StageLaw, ...]
    lists: dict[str, ListLaw] = {}


class Subset(Part, frozen=True):
    """Cells that are also run live."""

    slo: tuple[float, ...]
    load: tuple[str, ...]
    pipelines: tuple[str, ...] = ()
    requests: int = 0


class Change(Part, frozen=True):
    """A change after the first adaptive result, with what it changed."""

    what: str
    why: str
    before: str
    after: str


class Protocol(Part, frozen=True):
    version: int
    changes: tuple[Change, ...]
    seeds: Seeds
    cell: CellSize
    truth: Truth
    prices: PriceList
    slo: Objective
    load: LoadParts
    arrivals: dict[str, ArrivalKind]
    traces: Traces
    planner: PlannerLimits
    controller: Controlling
    grid: dict[str, Grid]
    days: Days
    together: Shared
    policies: Policies
    wins: Wins
    pipeline: tuple[Pipeline, ...]
    ocr: Subset
    live: Subset
    ablations: dict[str, dict[str, object]]

    def pipeline_named(self, name: str) -> Pipeline:
        """Return a pipeline; SpecError names those that there are."""
        for pipeline in self.pipeline:
            if pipeline.name == name:
                return pipeline
        raise SpecError(
            f"there is no pipeline {name!r}, there are {', '.join(one.name for one in self.pipeline)}"
        )

    def slos(self, grid: Grid) -> tuple[float, ...]:
        """Return the multiples of a part of the grid."""
        return self.slo.multiples if isinstance(grid.slo, str) else grid.slo

    def loads(self, grid: Grid) -> tuple[str, ...]:
        """Return the loads of a part of the grid."""
        return LOADS if isinstance(grid.load, str) else grid.load


def read(path: Path = FILE) -> Protocol:
    """Read a protocol; SpecError names the file, the place and what is allowed."""
    try:
        whole = tomllib.loads(path.read_text(encoding="utf-8"))
        protocol = msgspec.convert(whole, Protocol)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SpecError(f"{path.name} is no protocol: {error}") from error
    for message in _faults(protocol):
        raise SpecError(f"{path.name}: {message}")
    return protocol


def _faults(protocol: Protocol) -> list[str]:
    """Say what contradicts itself."""
    found = []
    if protocol.seeds.first < protocol.seeds.calibration:
        found.append(
            f"test seeds begin at {protocol.seeds.first}, below seeds.calibration {protocol.seeds.calibration}"
        )
    if not 0 <= protocol.cell.warm_up < 1:
        found.append(f"cell.warm_up must be in [0, 1), was {protocol.cell.warm_up}")
    for name, grid in protocol.grid.items():
        found += [
            f"grid.{name}.{what} names {one!r}, allowed are {', '.join(allowed)}"
            for what, given, allowed in (
                ("slo", (grid.slo,) if isinstance(grid.slo, str) else (), ("all",)),
                ("load", (grid.load,) if isinstance(grid.load, str) else grid.load, (*LOADS, "all")),
                ("arrivals", grid.arrivals, tuple(protocol.arrivals)),
                ("shares", grid.shares, tuple(protocol.planner.shares)),
            )
            for one in given
            if one not in allowed
        ]
    for pipeline in protocol.pipeline:
        found += _pipeline_faults(pipeline)
    parse_bytes(protocol.truth.context, "truth.context")
    parse_bytes(protocol.truth.activation, "truth.activation")
    parse_bytes(protocol.planner.memory, "planner.memory")
    return found


def _pipeline_faults(pipeline: Pipeline) -> list[str]:
    found, before = [], set[str]()
    for stage in pipeline.stages:
        where = f"pipeline {pipeline.name}, stage {stage.name}"
        if bool(stage.model) == bool(stage.seconds):
            found.append(f"{where} must have either a model or seconds")
        elif stage.model:
            model_named(stage.model)
        if stage.map and stage.map not in pipeline.lists:
            found.append(f"{where} maps over {stage.map!r}, which is no list of it")
        found += [
            f"{where} comes after {one!r}, which is not above it"
            for one in stage.after or ()
            if one not in before
        ]
        if stage.name in before:
            found.append(f"{where} is there twice")
        before.add(stage.name)
    for name, law in pipeline.lists.items():
        if law.law not in (GEOMETRIC, UNIFORM):
            found.append(
                f"pipeline {pipeline.name}, list {name}: the law is {GEOMETRIC} or {UNIFORM}, was {law.law!r}"
            )
    return found
