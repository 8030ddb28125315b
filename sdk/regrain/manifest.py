"""The app as JSON: everything that the front knows of it, without importing the user's module.

Made by `python -m regrain_runtime describe MODULE`, read by the watchdog.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from regrain.graph import Graph

VERSION = 1


class GPUSpec(Struct, frozen=True, kw_only=True):
    """What a stage needs of a GPU: `memory` in bytes, `share` of its SMs in (0, 1] as a hint or None."""

    memory: int = 0
    share: float | None = None


class StageSpec(Struct, frozen=True, kw_only=True):
    """One stage as declared. `digest` changes when its source does; times in seconds, memory in bytes.

    `batched` stages take and return lists by body. `size` names the measure of an item that its cost depends
    on ("bytes", "items", "pixels", "function") or is "". `timeout` 0 means none. A stage that `streams` gives the items
    of the answer one by one.
    """

    name: str
    digest: str
    batched: bool = False
    max_size: int = 1
    max_wait: float = 0.0
    cpu: float = 1.0
    memory: int = 0
    gpu: GPUSpec | None = None
    size: str = ""
    idempotent: bool = True
    timeout: float = 0.0
    errors: Literal["raise", "return"] = "raise"
    streams: bool = False
    doc: str = ""


class TensorSpec(Struct, frozen=True, kw_only=True):
    """An array type: Open Inference Protocol datatype ("FP32") and shape, -1 where any length goes."""

    datatype: str
    shape: tuple[int, ...]


class Parameter(Struct, frozen=True, kw_only=True):
    """An input of the flow, or (with name "") its answer; of an answer that is streamed, one item.

    kind: "bytes", "str", "array", "json" (anything else), or "request" (the raw HTTP request: handle()).
    schema: JSON Schema of the value; tensor: for arrays whose type says dtype and shape.
    default: what stands in where a request leaves it out (regrain.wire.codec.pack_inline); b"" if it is required.
    """

    name: str
    kind: Literal["bytes", "str", "array", "json", "request"]
    schema: dict[str, object] = {}
    tensor: TensorSpec | None = None
    required: bool = True
    default: bytes = b""


class SLOSpec(Struct, frozen=True, kw_only=True):
    """The objective: `attainment` of all requests within `latency` seconds."""

    latency: float
    attainment: float


class Sample(Struct, frozen=True, kw_only=True):
    """A request that the app serves, for warm-up and for trying it: a body and its media type."""

    content_type: str
    body: bytes


class Manifest(Struct, frozen=True, kw_only=True):
    """The app. `grain` is its default grain notation ("coarse" if the app says nothing). Called at `path`, and at /."""

    app: str
    stages: tuple[StageSpec, ...]
    graph: Graph
    parameters: tuple[Parameter, ...]
    answer: Parameter
    slo: SLOSpec | None = None
    sample: Sample | None = None
    grain: str = "coarse"
    path: str = "/"
    digest: str = ""
    doc: str = ""
    version: int = VERSION

    def stage(self, name: str) -> StageSpec:
        """Return a stage's declaration; KeyError if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)


def dumps(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    return msgspec.json.encode(manifest)


def loads(data: bytes) -> Manifest:
    """Read a manifest from JSON; msgspec.DecodeError says what is wrong in it."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
