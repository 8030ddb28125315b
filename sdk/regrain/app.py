"""An app: a named flow of stages, with the objective it is held to and a request to try it with.

The App is the only registry there is; declaring a stage adds it here and nowhere else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, Never, TypeVar, overload

import msgspec
from msgspec.structs import replace

from regrain import grain as grains
from regrain.answers import Failure
from regrain.body import first_line
from regrain.declare import (
    GPU,
    BatchedDeclaration,
    Errors,
    Options,
    Size,
    StageDeclaration,
    refuse_positional,
)
from regrain.errors import SpecError, TraceError, UnsupportedValueError
from regrain.graph import Graph
from regrain.manifest import Manifest, Parameter, Sample, SLOSpec
from regrain.place import Place, caller
from regrain.sample import read_sample
from regrain.schema import parameters, returned, types_of
from regrain.stage import Stage
from regrain.trace import trace
from regrain.units import is_number
from regrain.wire.codec import pack_inline

F = TypeVar("F", bound=Callable[..., object])
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PATH = re.compile(r"/|(/[A-Za-z0-9._~-]+)+", re.ASCII)
_TAKEN = ("_", "v2")
"""Words that the path of an app cannot begin with: health, readiness and OpenAPI, and the Open Inference Protocol."""
_RESOLVED = {".", ".."}
"""Words that clients and proxies take out of a path before they ask for it."""
_LONGEST_PATH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class SLO:
    """The objective: this share of all requests is answered within this time.

    Attributes:
        latency: seconds from a request's arrival to its last byte handed over.
        attainment: in (0, 1].
    """

    latency: float
    attainment: float = 0.95

    def __post_init__(self) -> None:
        if not is_number(self.latency) or self.latency <= 0:
            raise SpecError(f"latency must be seconds over 0, was {self.latency!r}")
        if not is_number(self.attainment) or not 0 < self.attainment <= 1:
            raise SpecError(f"attainment must be in (0, 1], was {self.attainment!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    function: Callable[..., object]
    graph: Graph
    place: Place


class App:
    """A named DAG of stages.

    Attributes:
        name: lower-case letters, digits and dashes, 63 at most.
        slo: the objective, or None where there is none.
        stages: by name, in the order in which they were declared.
    """

    def __init__(
        self,
        name: str,
        *,
        slo: SLO | None = None,
        sample: str | bytes | Mapping[str, object] | None = None,
        grain: str = "coarse",
        path: str = "/",
    ) -> None:
        """Make an app without stages.

        Args:
            name: of the app.
            slo: the objective.
            sample: a request that it serves: a path (from the app's file), "package:path/in/package", a body,
                or the values of a JSON body by parameter.
            grain: how the stages are grouped unless a setting says otherwise.
            path: where the flow is called, such as "/predict", besides "/".

        Raises:
            SpecError: an argument is outside of what is allowed.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SpecError(f"name of an app is a-z, 0-9 and -, at most 63 of them, was {name!r}")
        if slo is not None and not isinstance(slo, SLO):
            raise SpecError(f"slo must be SLO(latency=...), was {slo!r}")
        if sample is not None and not isinstance(sample, str | bytes | Mapping):
            raise SpecError(f"sample must be a path, bytes or a dict, was {sample!r}")
        if not isinstance(grain, str):
            raise SpecError(f'grain must be "fine", "coarse" or groups such as "a+b | c", was {grain!r}')
        if not isinstance(path, str) or not _PATH.fullmatch(path) or len(path) > _LONGEST_PATH:
            raise SpecError(
                f"path must be such as '/predict': words of letters, digits and ._~-, {_LONGEST_PATH} bytes at "
                f"most, was {path!r}"
            )
        words = path.split("/")[1:]
        if words[0] in _TAKEN:
            raise SpecError(f"path must not begin with {', '.join(_TAKEN)}, which are served, was {path!r}")
        if not _RESOLVED.isdisjoint(words):
            raise SpecError(f"path must have no word . or .., which never reach an app, was {path!r}")
        self.name = name
        self.slo = slo
        self.stages: dict[str, Stage[..., object]] = {}
        self._sample = sample
        self._grain = grain
        self._path = path
        self._folder = Path(caller().file).resolve().parent
        self._flow: _Flow | None = None

    def __repr__(self) -> str:
        return f"<App {self.name!r}: {', '.join(self.stages)}>"

    @overload
    def stage(
        self,
        *,
        name: str = ...,
        cpu: float = ...,
        memory: str | int = ...,
        gpu: GPU | None = ...,
        size: Size | None = ...,
        idempotent: bool = ...,
        timeout: float | None = ...,
        errors: Literal["raise"] = ...,
    ) -> StageDeclaration[Never]: ...
    @overload
    def stage(
        self,
        *,
        name: str = ...,
        cpu: float = ...,
        memory: str | int = ...,
        gpu: GPU | None = ...,
        size: Size | None = ...,
        idempotent: bool = ...,
        timeout: float | None = ...,
        errors: Literal["return"],
    ) -> StageDeclaration[Failure]: ...
    def stage(
        self,
        *misplaced: object,
        name: str = "",
        cpu: float = 1.0,
        memory: str | int = 0,
        gpu: GPU | None = None,
        size: Size | None = None,
        idempotent: bool = True,
        timeout: float | None = None,
        errors: Errors = "raise",
    ) -> object:
        """Declare a stage: `@app.stage()` over a function, or `name = app.stage()(Class)`.

        A class is built once per replica; that is where a model loads.

        Args:
            misplaced: nothing; options go by name.
            name: the function's name, or the variable that a class is assigned to, unless given.
            cpu: cores that one replica uses.
            memory: bytes, or a size such as "512Mi"; 0 if unknown.
            gpu: what it needs of a GPU; None runs on the CPU.
            size: what its cost depends on: "bytes", "items" or "pixels" of its arguments, or a function of
                them that returns a number.
            idempotent: whether a request may be run again after its replica died.
            timeout: seconds that one call may take; None for any.
            errors: "return" makes an exception the result, as a Failure, instead of failing the request.

        Raises:
            SpecError: an option is outside of what is allowed, or the body can be no stage.
        """
        refuse_positional("stage", misplaced)
        options = Options(
            name=name,
            cpu=cpu,
            memory=memory,
            gpu=gpu,
            size=size,
            idempotent=idempotent,
            timeout=timeout,
            errors=errors,
        )
        return StageDeclaration[object](options, self._add)

    @overload
    def batched(
        self,
        *,
        max_size: int = ...,
        max_wait: float = ...,
        name: str = ...,
        cpu: float = ...,
        memory: str | int = ...,
        gpu: GPU | None = ...,
        size: Size | None = ...,
        idempotent: bool = ...,
        timeout: float | None = ...,
        errors: Literal["raise"] = ...,
    ) -> BatchedDeclaration[Never]: ...
    @overload
    def batched(
        self,
        *,
        max_size: int = ...,
        max_wait: float = ...,
        name: str = ...,
        cpu: float = ...,
        memory: str | int = ...,
        gpu: GPU | None = ...,
        size: Size | None = ...,
        idempotent: bool = ...,
        timeout: float | None = ...,
        errors: Literal["return"],
    ) -> BatchedDeclaration[Failure]: ...
    def batched(
        self,
        *misplaced: object,
        max_size: int = 8,
        max_wait: float = 0.0,
        name: str = "",
        cpu: float = 1.0,
        memory: str | int = 0,
        gpu: GPU | None = None,
        size: Size | None = None,
        idempotent: bool = True,
        timeout: float | None = None,
        errors: Errors = "raise",
    ) -> object:
        """Declare a batched stage: its body takes a list per parameter and returns a list of the same length.

        In the flow it takes an item and returns an item, like any other stage.

        Args:
            misplaced: nothing; options go by name.
            max_size: items that one call of the body gets at most.
            max_wait: seconds that the first item waits for others at most.
            name: see `stage`; so are all further options.
            cpu: cores that one replica uses.
            memory: bytes, or a size such as "512Mi".
            gpu: what it needs of a GPU.
            size: what an item's cost depends on; items of like size go together.
            idempotent: whether an item may be run again.
            timeout: seconds that one call may take.
            errors: "return" makes an item's exception its result.

        Raises:
            SpecError: an option is outside of what is allowed, or the body can be no stage.
        """
        refuse_positional("batched", misplaced)
        options = Options(
            batched=True,
            max_size=max_size,
            max_wait=max_wait,
            name=name,
            cpu=cpu,
            memory=memory,
            gpu=gpu,
            size=size,
            idempotent=idempotent,
            timeout=timeout,
            errors=errors,
        )
        return BatchedDeclaration[object](options, self._add)

    def flow(self, function: F) -> F:
        """Declare the flow, and trace it into the graph at once; it stays callable as plain Python.

        Raises:
            TraceError: it cannot be traced, or there is a flow already; the message names the line.
            GrainError: the app's grain is none of its stages.
        """
        place = caller()
        if self._flow is not None:
            raise TraceError(
                f"{place}: app {self.name!r} has a flow already, at {self._flow.place}; it has one"
            )
        graph = trace(function, self.stages)
        grains.parse(self._grain, graph)
        self._flow = _Flow(function=function, graph=graph, place=place)
        return function

    @property
    def graph(self) -> Graph:
        """The DAG; SpecError if no flow is declared."""
        return self._declared.graph

    @property
    def annotations(self) -> dict[str, object]:
        """The types of the flow's annotated parameters, by name; SpecError if one is unknown."""
        types = types_of(self._declared.function)
        types.pop("return", None)
        return types

    @property
    def returns(self) -> object:
        """The type of the flow's answer, None if it is not annotated."""
        return types_of(self._declared.function).get("return")

    def manifest(self) -> Manifest:
        """Return the app as the front knows it.

        Raises:
            SpecError: there is no flow or no such sample, a type cannot be resolved or carried, or a path is given to
                a flow that gets the request of every path.
        """
        flow = self._declared
        takes = tuple(_with_default(parameter, flow.function) for parameter in parameters(flow.function))
        specs = tuple(self.stages[name].spec for name in flow.graph.stages)
        digest = sha256("".join(spec.digest for spec in specs).encode() + msgspec.json.encode(flow.graph))
        if self._path != "/" and any(parameter.kind == "request" for parameter in takes):
            raise SpecError(
                f"path {self._path!r} is for flows with parameters: this one gets the request of every path"
            )
        return Manifest(
            app=self.name,
            stages=specs,
            graph=flow.graph,
            parameters=takes,
            answer=returned(flow.function, streams=flow.graph.streams),
            slo=SLOSpec(latency=self.slo.latency, attainment=self.slo.attainment) if self.slo else None,
            sample=self._read_sample(takes),
            grain=self._grain,
            path=self._path,
            digest=digest.hexdigest()[:16],
            doc=first_line(flow.function),
        )

    def _read_sample(self, takes: tuple[Parameter, ...]) -> Sample | None:
        if self._sample is None:
            return None
        names = [parameter.name for parameter in takes]
        if isinstance(self._sample, Mapping) and not self._sample.keys() <= set(names):
            unknown = ", ".join(map(repr, self._sample.keys() - set(names)))
            raise SpecError(
                f"the sample gives {unknown}; parameters of the flow are {', '.join(names) or 'none'}"
            )
        return read_sample(self._sample, self._folder)

    @property
    def _declared(self) -> _Flow:
        if self._flow is None:
            raise SpecError(f"app {self.name!r} has no flow; declare one by @app.flow over a function")
        return self._flow

    def _add(self, stage: Stage[..., object]) -> None:
        before = self.stages.get(stage.name)
        if before is not None:
            raise TraceError(
                f"{stage.place}: stage {stage.name!r} is declared twice, first at {before.place}; "
                "rename one, or give it another name by name=..."
            )
        if self._flow is not None:
            raise TraceError(
                f"{stage.place}: stage {stage.name!r} is declared after the flow at {self._flow.place}, "
                "which does not call it; declare stages before the flow"
            )
        self.stages[stage.name] = stage


def _with_default(parameter: Parameter, function: Callable[..., object]) -> Parameter:
    """Return a parameter with the value that stands in where a request does not bring it."""
    if parameter.required:
        return parameter
    default = inspect.signature(function).parameters[parameter.name].default
    try:
        return replace(parameter, default=pack_inline(default))
    except UnsupportedValueError as error:
        raise SpecError(f"the default of parameter {parameter.name!r} cannot travel: {error}") from error
