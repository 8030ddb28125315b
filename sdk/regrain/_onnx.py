"""ONNX models in stages: `onnx("package:model.onnx")`, on the cores and the device that the stage asked for.

Sessions do not spin while they wait: replicas share their cores, and a spinning thread takes its neighbour's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from regrain import place, resources
from regrain.context import current_build
from regrain.errors import LoadError, SpecError

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.generic]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
ERRORS_ONLY = 3
"""onnxruntime's severity level; its warnings speak of what it chose itself."""

_DATATYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "bool": "BOOL",
    "string": "BYTES",
}


class _Port(Protocol):
    name: str
    shape: Sequence[int | str | None]
    type: str


class _Meta(Protocol):
    custom_metadata_map: dict[str, str]


class Session(Protocol):
    """What is used of onnxruntime.InferenceSession."""

    def get_inputs(self) -> Sequence[_Port]:
        """Return what the model takes."""

    def get_outputs(self) -> Sequence[_Port]:
        """Return what the model gives."""

    def get_providers(self) -> Sequence[str]:
        """Return where the model runs, the first choice first."""

    def run(self, output_names: Sequence[str] | None, input_feed: dict[str, Array]) -> list[Array]:
        """Run the model; None for all outputs."""

    def get_modelmeta(self) -> _Meta:
        """Return what the model's file says of itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: Open Inference Protocol datatype, and shape with -1 where any length goes."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class OnnxModel:
    """A model that is loaded; call it with arrays.

    Attributes:
        session: the onnxruntime.InferenceSession, for what this class leaves out.
        inputs: what it takes, in order.
        outputs: what it gives, in order.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.inputs = tuple(_port(port) for port in session.get_inputs())
        self.outputs = tuple(_port(port) for port in session.get_outputs())
        self._names = tuple(port.name for port in self.inputs)

    @property
    def metadata(self) -> dict[str, str]:
        """What the model's file says of itself, by name, such as the characters that it reads."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, *arrays: Array, **named: Array) -> list[Array]:
        """Run the model; return one array per output.

        Arrays go to the inputs in order, or by the inputs' names, and must have the inputs' datatype.

        Raises:
            SpecError: too many arrays, an unknown name, or one input twice.
        """
        if len(arrays) > len(self._names):
            raise SpecError(f"the model takes {', '.join(self._names)}; got {len(arrays)} arrays")
        feed = dict(zip(self._names, arrays, strict=False))
        for name, array in named.items():
            if name not in self._names or name in feed:
                raise SpecError(f"the model takes {', '.join(self._names)}, each once; got {name!r} too")
            feed[name] = array
        return self.session.run(None, feed)


def onnx(source: str, *, cpu: int | None = None, gpu: bool | None = None) -> OnnxModel:
    """Load an ONNX model; call this where the stage is built (`__init__`), so that each replica has its own.

    Args:
        source: "package:path/in/package", or a path: absolute, or relative to the calling file or the
            working directory.
        cpu: cores; by default the stage's `cpu`, outside a stage 1.
        gpu: whether to run on CUDA; by default if the stage asked for a GPU. Without CUDA here the model runs
            on the CPU and a warning is logged.

    Raises:
        LoadError: no such file, no ONNX model, or onnxruntime is not installed; one line.
    """
    path = resources.find(source, Path(place.caller().file).parent)
    build = current_build()
    wants_gpu = gpu if gpu is not None else build is not None and build.gpu
    cores = cpu if cpu is not None else int(build.cpu) if build else 1
    session = _session(path, max(1, cores), wants_gpu=wants_gpu)
    if wants_gpu and CUDA not in session.get_providers():
        stage = build.stage if build else "none"
        logger.warning(
            "no CUDA for onnxruntime here, on the CPU instead: model %s, stage %s", path.name, stage
        )
    return OnnxModel(session)


def _session(path: Path, cores: int, *, wants_gpu: bool) -> Session:
    try:
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  # no types; heavy
    except ImportError as error:
        raise LoadError(f"regrain.onnx needs onnxruntime: pip install 'regrain[onnx]' ({error})") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    present = onnxruntime.get_available_providers()
    providers = [CUDA, CPU] if wants_gpu and CUDA in present else [CPU]
    try:
        session: Session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common class
        reason = " ".join(str(error).split())
        raise LoadError(f"{path} could not be loaded as an ONNX model: {reason}") from error
    return session


def _port(port: _Port) -> Port:
    inner = port.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(length if isinstance(length, int) else -1 for length in port.shape)
    return Port(name=port.name, datatype=_DATATYPES.get(inner, inner.upper()), shape=shape)
