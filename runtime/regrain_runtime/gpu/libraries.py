"""Hand a lane to the libraries that run models: torch by stream, onnxruntime by the options of a session."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from regrain_runtime.gpu.backend import Lane


class TorchCuda(Protocol):
    """What is used of torch.cuda."""

    def ExternalStream(self, stream_ptr: int, device: int) -> object:  # noqa: N802 - torch's name
        """Return a torch stream for one that another made."""
        ...

    def stream(self, stream: object) -> AbstractContextManager[object]:
        """Run what is inside in a stream."""
        ...

    def set_per_process_memory_fraction(self, fraction: float, device: int) -> None:
        """Limit what torch's allocator takes of a device."""
        ...


@contextlib.contextmanager
def in_lane(lane: Lane, cuda: TorchCuda) -> Iterator[None]:
    """Run torch's work in a lane.

    By stream and not by making the green context current: work that a stream of it captures into a CUDA graph keeps its
    SMs when the graph is replayed.
    """
    if not lane.stream:
        yield
        return
    with cuda.stream(cuda.ExternalStream(lane.stream, lane.device)):
        yield


def limit_memory(lane: Lane, cuda: TorchCuda) -> None:
    """Hold torch's allocator to a lane's memory: contexts, cuBLAS and onnxruntime are not counted in it.

    What it holds already beyond that stays, and nothing is added.
    """
    fraction = min(1.0, lane.memory / lane.device_memory) if lane.memory else 1.0
    cuda.set_per_process_memory_fraction(fraction, lane.device)


def onnx_options(lane: Lane) -> dict[str, str]:
    """Return the options of onnxruntime's CUDAExecutionProvider for a session that stays in a lane.

    A session keeps its stream for life, so a lane of another size needs another session. `gpu_mem_limit` bounds the
    arena alone. Whether onnxruntime honours a green context's stream throughout is not verified.
    """
    options = {"device_id": str(lane.device), "arena_extend_strategy": "kSameAsRequested"}
    if lane.stream:  # 0 counts as none
        options["user_compute_stream"] = str(lane.stream)
    if lane.memory:
        options["gpu_mem_limit"] = str(lane.memory)
    return options
