"""ONNX models in stages: `onnx("package:model.onnx")`, on the cores and the device that the stage asked for.

Sessions do not spin while they wait: replicas share their cores, and a spinning thread takes its neighbour's.

On the CPU the replicas of a node share a model's weights. onnxruntime maps weights that lie in a file of their
own, but what it makes of them for speed (reordered convolutions, packed matrices) is each process's own, and
that is nearly all. So the first replica has it write down what it made, and all map that: they run exactly
what they would run without, and load sooner, for nothing is left to be made.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from regrain import place, resources
from regrain.context import current_build
from regrain.errors import LoadError, SpecError
from regrain.weights.onnx_file import align, locations
from regrain.weights.store import LEAST, Store, give_back, identity, open_store

logger = logging.getLogger(__name__)

Array = npt.NDArray[np.generic]

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
ERRORS_ONLY = 3
"""onnxruntime's severity level; its warnings speak of what it chose itself."""

MODEL, DATA = "model.onnx", "weights.bin"
RAW, RAW_DATA = "raw.onnx", "raw.bin"
FORMAT = "1"
"""Of what is kept; a new one leaves what older versions kept alone."""

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


def onnx(
    source: str, *, cpu: int | None = None, gpu: bool | None = None, share: bool | None = None
) -> OnnxModel:
    """Load an ONNX model; call this where the stage is built (`__init__`), so that each replica has its own.

    Args:
        source: "package:path/in/package", or a path: absolute, or relative to the calling file or the
            working directory.
        cpu: cores; by default the stage's `cpu`, outside a stage 1.
        gpu: whether to run on CUDA; by default if the stage asked for a GPU. Without CUDA here the model runs
            on the CPU and a warning is logged.
        share: whether to share the weights with the other replicas on this node, by files in the user's cache
            folder (docs/weights.md); by default for models of 1 MiB and more that run on the CPU. Answers and
            speed are the same. Where it is not possible the replica has weights of its own and a line is logged.

    Raises:
        LoadError: no such file, no ONNX model, or onnxruntime is not installed; one line.
        SpecError: REGRAIN_WEIGHTS is neither "off" nor an absolute path.
    """
    path = resources.find(source, Path(place.caller().file).parent)
    build = current_build()
    wants_gpu = gpu if gpu is not None else build is not None and build.gpu
    cores = cpu if cpu is not None else int(build.cpu) if build else 1
    loader = _Loader(max(1, cores), wants_gpu=wants_gpu, cuda=build.cuda if build is not None else dict)
    session = None
    if share is not False and not loader.on_gpu and (store := open_store()):
        session = loader.shared(path, store, least=0 if share else LEAST)
    session = session or loader.load(path)
    if wants_gpu and CUDA not in session.get_providers():
        stage = build.stage if build else "none"
        logger.warning(
            "no CUDA for onnxruntime here, on the CPU instead: model %s, stage %s", path.name, stage
        )
    return OnnxModel(session)


class _Loader:
    """Makes sessions on some cores."""

    def __init__(self, cores: int, *, wants_gpu: bool, cuda: Callable[[], Mapping[str, str]]) -> None:
        try:
            import onnxruntime  # noqa: PLC0415  # heavy
        except ImportError as error:
            raise LoadError(
                f"regrain.onnx needs onnxruntime: pip install 'regrain[onnx]' ({error})"
            ) from error
        self._library = onnxruntime
        self._cores = cores
        self._cuda = cuda
        self.on_gpu = wants_gpu and CUDA in onnxruntime.get_available_providers()

    def load(self, path: Path) -> Session:
        """Return a session on this file, with weights of its own."""
        try:
            return self._session(path)
        except Exception as error:  # onnxruntime's exceptions have no common class
            reason = " ".join(str(error).split())
            raise LoadError(f"{path} could not be loaded as an ONNX model: {reason}") from error

    def shared(self, path: Path, store: Store, *, least: int) -> Session | None:
        """Return a session whose weights are mapped from the store; None for fewer bytes, and where it cannot be."""
        files = _files(path)
        if sum(file.stat().st_size for file in files) < least:
            return None
        key = self._key(files)
        try:
            made = store.get(key, lambda folder: self._make(files, folder))
            return self._session(made / MODEL, optimize=False)
        except Exception as error:  # as above; a model that cannot be loaded at all says so when it is tried
            store.drop(key)
            reason = " ".join(str(error).split())
            logger.warning("weights of %s are not shared: %s", path.name, reason)
            return None

    def _make(self, files: list[Path], folder: Path) -> None:
        """Write down what onnxruntime makes of a model: one file for the graph, one for the weights."""
        before = [identity(file) for file in files]
        self._session(
            files[0],
            save=folder / RAW,
            entries={
                "session.optimized_model_external_initializers_file_name": RAW_DATA,
                "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
                "session.save_external_prepacked_constant_initializers": "1",
            },
        )
        align(folder / RAW, folder / RAW_DATA, folder / MODEL, folder / DATA)
        (folder / RAW).unlink()
        (folder / RAW_DATA).unlink(missing_ok=True)
        give_back()
        if [identity(file) for file in files] != before:
            raise LoadError("the model was changed while it was read")

    def _key(self, files: list[Path]) -> str:
        """Return a name for what onnxruntime makes of this model: its version and the processor decide, too."""
        parts = (FORMAT, self._library.__version__, _processor(), *map(identity, files))
        return f"onnx-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"

    def _session(
        self,
        path: Path,
        *,
        optimize: bool = True,
        save: Path | None = None,
        entries: dict[str, str] | None = None,
    ) -> Session:
        options = self._library.SessionOptions()
        options.intra_op_num_threads = self._cores
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        for name, value in {"session.intra_op.allow_spinning": "0", **(entries or {})}.items():
            options.add_session_config_entry(name, value)
        if not optimize:
            options.graph_optimization_level = self._library.GraphOptimizationLevel.ORT_DISABLE_ALL
        if save:
            options.optimized_model_filepath = str(save)
        providers = [(CUDA, dict(self._cuda())), CPU] if self.on_gpu else [CPU]
        session: Session = self._library.InferenceSession(str(path), options, providers=providers)
        return session


def _files(path: Path) -> list[Path]:
    """Return the model's file and those that hold weights of it, as far as they are there."""
    try:
        others = [path.parent / name for name in sorted(locations(path))]
        return [path, *(other for other in others if other.is_file())]
    except (OSError, ValueError):  # no model, which the attempt to load it tells better
        return [path]


def _processor() -> str:
    """Return what packed weights depend on: the processor's model and what it can do."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    told = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return "\n".join([platform.machine(), *sorted(told)])


def _port(port: _Port) -> Port:
    inner = port.type.removeprefix("tensor(").removesuffix(")")
    shape = tuple(length if isinstance(length, int) else -1 for length in port.shape)
    return Port(name=port.name, datatype=_DATATYPES.get(inner, inner.upper()), shape=shape)
