"""torch tensors on the wire, without ever importing torch to write them: where a tensor is, torch is.

A tensor is written as the array that shares its memory and read into memory of its own, for torch has no
read-only tensors. What travels is its values, dtype and the order of its axes (channels_last stays so);
it arrives on the CPU, without a gradient.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Protocol, TypeGuard

from regrain.errors import UnsupportedValueError
from regrain.lazy_numpy import Array, np
from regrain.wire.arrays import INLINE, Sink, Source, get_array, put_array
from regrain.wire.frames import FrameError, Leaf

PREFIX = "torch."
_CARRIERS = {1: ("uint8", "|u1"), 2: ("int16", "<i2"), 4: ("int32", "<i4"), 8: ("int64", "<i8")}
"""Bytes of an item -> the torch and numpy dtype that carry its bits, whatever they mean."""
_WIDE = ("complex128", "<c16")
_AS_ARRAYS = {
    "bool": "|b1",
    "uint8": "|u1",
    "int8": "|i1",
    "uint16": "<u2",
    "int16": "<i2",
    "uint32": "<u4",
    "int32": "<i4",
    "uint64": "<u8",
    "int64": "<i8",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "complex64": "<c8",
    "complex128": "<c16",
}


class Storage(Protocol):
    """What is used of a torch.UntypedStorage; torch documents it."""

    _cdata: int

    def resizable(self) -> bool: ...  # noqa: D102  # torch's own


class Tensor(Protocol):
    """What is used of a torch.Tensor; torch documents it."""

    dtype: object
    layout: object
    is_quantized: bool
    is_meta: bool
    is_nested: bool

    def detach(self) -> Tensor: ...  # noqa: D102  # torch's own
    def cpu(self) -> Tensor: ...  # noqa: D102  # torch's own
    def resolve_conj(self) -> Tensor: ...  # noqa: D102  # torch's own
    def resolve_neg(self) -> Tensor: ...  # noqa: D102  # torch's own
    def clone(self) -> Tensor: ...  # noqa: D102  # torch's own
    def element_size(self) -> int: ...  # noqa: D102  # torch's own
    def untyped_storage(self) -> Storage: ...  # noqa: D102  # torch's own
    def view(self, dtype: object, /) -> Tensor: ...  # noqa: D102  # torch's own
    def numpy(self) -> Array: ...  # noqa: D102  # torch's own


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether a value is a torch.Tensor, exactly: a Parameter is none."""
    torch = sys.modules.get("torch")
    return torch is not None and type(value) is getattr(torch, "Tensor", None)


def is_dense(tensor: Tensor) -> bool:
    """Whether a tensor is neither sparse, quantized nor nested and has values, so that it can travel."""
    odd = tensor.is_quantized or tensor.is_meta or tensor.is_nested
    return tensor.layout == import_module("torch").strided and not odd


def own(tensor: Tensor) -> Tensor:
    """Return a tensor of its own memory, without a gradient, on the same device."""
    return tensor.detach().clone()


def storage(tensor: Tensor) -> int:
    """Return what tells the memory of a dense tensor from that of others for as long as it lives."""
    return tensor.untyped_storage()._cdata


def uses(tensor: Tensor, *, lent: bool = False) -> int:
    """Return how many tensors and others hold the memory of a dense one; a great many where that cannot be told.

    lent: whether an array lies there by `Tensor.numpy`, after which torch takes it for memory that is not its own.
    """
    torch = import_module("torch")
    count = getattr(torch._C, "_storage_Use_Count", None)
    if count is None or not (lent or tensor.untyped_storage().resizable()):
        return sys.maxsize
    alone = torch.empty(0)
    lone, its = alone.untyped_storage(), tensor.untyped_storage()
    # torch gives one and the same object for a memory, which somebody may have kept
    keepers = sys.getrefcount(its) - sys.getrefcount(lone)
    return int(count(its._cdata)) - int(count(lone._cdata)) + keepers + 1


def put_tensor(tensor: Tensor, sink: Sink | None, inline: int = INLINE) -> Leaf:
    """Write a dense tensor; UnsupportedValueError if it is none."""
    torch = import_module("torch")
    if not is_dense(tensor):
        what = "without values" if tensor.is_meta else "nested" if tensor.is_nested else "not dense"
        raise UnsupportedValueError(f"a tensor of layout {tensor.layout} and dtype {tensor.dtype} ({what})")
    host = tensor.detach().cpu().resolve_conj().resolve_neg()
    carrier, _ = _carrier(host.element_size())
    return put_array(host.view(getattr(torch, carrier)).numpy(), sink, inline, str(tensor.dtype))


def get_tensor(leaf: Leaf, source: Source | None) -> object:
    """Return a leaf as a tensor of its own memory.

    Raises:
        UnsupportedValueError: torch is not installed here.
        FrameError: the leaf is no tensor.
    """
    torch = _torch()
    dtype = getattr(torch, leaf.dtype.removeprefix(PREFIX), None)
    if not isinstance(dtype, torch.dtype):
        raise FrameError(f"{leaf.dtype[:80]!r} is no dtype of torch")
    _, carrier = _carrier(dtype.itemsize)
    tensor: object = torch.from_numpy(get_array(leaf, source, carrier).copy(order="K")).view(dtype)
    return tensor


def get_tensor_as_array(leaf: Leaf, source: Source | None) -> Array:
    """Return a tensor's leaf as an array, without torch; bfloat16 as float32, which holds it exactly.

    UnsupportedValueError if numpy has no such dtype.
    """
    name = leaf.dtype.removeprefix(PREFIX)
    if name in _AS_ARRAYS:
        return get_array(leaf, source, _AS_ARRAYS[name])
    if name == "bfloat16":  # the upper half of a float32
        halves = get_array(leaf, source, "<u2")
        return np.left_shift(halves, 16, dtype="<u4", out=np.empty_like(halves, "<u4")).view("<f4")
    raise UnsupportedValueError(f"a tensor of {leaf.dtype[:80]}, which numpy does not have,")


def _carrier(itemsize: int) -> tuple[str, str]:
    return _CARRIERS.get(itemsize, _WIDE)


def _torch() -> ModuleType:
    try:
        return import_module("torch")
    except ImportError as error:
        raise UnsupportedValueError("a torch tensor was sent to where torch is not installed") from error
