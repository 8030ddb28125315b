"""An app as a model of the protocol: its name and version, its inputs and outputs, its configuration.

The app's name is the model's, the manifest's digest its version, the flow's parameters its inputs. The answer
is the output "output"; a flow that returns a dict has an output per key, one that returns a tuple or list
written in the flow has output_0, output_1 and so on. bytes, str and JSON are BYTES. Where every input can have
a batch dimension in front, metadata shows it as -1 and the configuration leaves it out, as Triton does.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata

from regrain.errors import RequestError
from regrain.graph import Pack
from regrain.manifest import Manifest, Parameter
from regrain_watchdog.front.oip.tensors import BYTES

JSONObject = dict[str, object]

MAX_ITEMS = 256
"""Items of one request at most."""
OUTPUT = "output"
PLATFORM = "regrain"
ANY = ""
"""The datatype of what may be any array: the app's types do not say."""
EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")
CONFIGURED = {BYTES: "TYPE_STRING", ANY: "TYPE_INVALID"}
"""Datatypes whose names in a configuration are not TYPE_ and the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A tensor as a model declares it; `dims` without the batch dimension, -1 where any length goes."""

    name: str
    datatype: str
    dims: tuple[int, ...]
    optional: bool = False


class Model:
    """An app as a model.

    Args:
        manifest: the app.

    Attributes:
        raw: the parameter that takes whole HTTP requests; "" where there is none.
        outputs: the names of the outputs.
        is_split: whether the answer is several outputs, or the one called "output".
        batches: whether every input can have a batch dimension in front.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.name = manifest.app
        self.version = manifest.digest or "1"
        self.parameters = {parameter.name: parameter for parameter in manifest.parameters}
        self.raw = next((item.name for item in manifest.parameters if item.kind == "request"), "")
        self.outputs = _outputs(manifest)
        self.is_split = self.outputs != (OUTPUT,)
        self.batches = bool(manifest.parameters) and all(map(_can_batch, manifest.parameters))

    def check(self, name: str, version: str) -> None:
        """Refuse (404) a model or version that is not this one; the version "" is any."""
        if name != self.name:
            raise RequestError(HTTPStatus.NOT_FOUND, f"there is no model {name!r}, there is {self.name!r}")
        if version not in ("", self.version):
            detail = f"model {name!r} has no version {version!r}, it has {self.version!r}"
            raise RequestError(HTTPStatus.NOT_FOUND, detail)

    def metadata(self) -> JSONObject:
        """What the protocol calls the model's metadata, as JSON values."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": PLATFORM,
            "inputs": [self._told(shape) for shape in self._inputs()],
            "outputs": [self._told(shape) for shape in self._outputs()],
        }

    def config(self) -> JSONObject:
        """Triton's model configuration, as far as it says anything of an app, as JSON values."""
        return {
            "name": self.name,
            "platform": PLATFORM,
            "backend": PLATFORM,
            "max_batch_size": MAX_ITEMS if self.batches else 0,
            "input": [
                _configured(shape) | ({"optional": True} if shape.optional else {})
                for shape in self._inputs()
            ],
            "output": [_configured(shape) for shape in self._outputs()],
        }

    def _told(self, shape: Shape) -> JSONObject:
        dims = shape.dims
        if self.batches:
            dims = (-1,) if shape.datatype == BYTES else (-1, *dims)
        return {"name": shape.name, "datatype": shape.datatype, "shape": list(dims)}

    def _inputs(self) -> list[Shape]:
        return [_shape(name, parameter) for name, parameter in self.parameters.items()]

    def _outputs(self) -> list[Shape]:
        if self.is_split:
            return [Shape(name=name, datatype=ANY, dims=(-1,)) for name in self.outputs]
        return [_shape(OUTPUT, self.manifest.answer)]


def server_metadata() -> JSONObject:
    """What the protocol calls the server's metadata, as JSON values."""
    version = metadata.version("regrain")
    return {"name": PLATFORM, "version": version, "extensions": list(EXTENSIONS)}


def _shape(name: str, parameter: Parameter) -> Shape:
    datatype = BYTES
    dims: tuple[int, ...] = (1,)
    if parameter.tensor is not None:
        datatype, dims = parameter.tensor.datatype, parameter.tensor.shape
    elif parameter.kind == "array":
        datatype, dims = ANY, (-1,)
    return Shape(name=name, datatype=datatype, dims=dims, optional=not parameter.required)


def _configured(shape: Shape) -> JSONObject:
    kind = CONFIGURED.get(shape.datatype, f"TYPE_{shape.datatype}")
    return {"name": shape.name, "data_type": kind, "dims": list(shape.dims)}


def _can_batch(parameter: Parameter) -> bool:
    """Whether a dimension in front of a parameter can be nothing but its batch: its own first one is fixed."""
    if parameter.kind != "array":
        return True
    return parameter.tensor is not None and parameter.tensor.shape[:1] != (-1,)


def _outputs(manifest: Manifest) -> tuple[str, ...]:
    answer = manifest.graph.output
    if not isinstance(answer, Pack) or not answer.items:
        return (OUTPUT,)
    return answer.keys or tuple(f"{OUTPUT}_{place}" for place in range(len(answer.items)))
