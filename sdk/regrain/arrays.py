"""Arrays as users annotate them: what an annotation asks of an array, and values made to fit it.

An array from the wire must have the dtype that is asked for, since a silent cast costs a copy and hides a
mistake of the caller; numbers from JSON have no width, so they need only fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Annotated, NamedTuple, get_args, get_origin

from regrain.errors import SpecError
from regrain.lazy_numpy import Array, array_kinds, is_array, is_scalar, np
from regrain.manifest import TensorSpec

if TYPE_CHECKING:
    import numpy.typing as npt

DATATYPES: dict[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""Datatypes of the Open Inference Protocol, as numpy names them."""
MAX_AXES = 64
"""Axes of an array at most; numpy refuses lists that are nested deeper."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """What an array holds, for `Annotated`: `Annotated[np.ndarray, Tensor("FP32", (-1, 3, 224, 224))]`.

    Attributes:
        datatype: of the Open Inference Protocol, such as "FP32" or "UINT8".
        shape: items per axis; -1 where any length goes.
    """

    datatype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.datatype not in DATATYPES:
            raise SpecError(f"datatype must be one of {', '.join(DATATYPES)}, was {self.datatype!r}")
        if any(length < -1 for length in self.shape):
            raise SpecError(f"a shape holds lengths, or -1 where any length goes, was {self.shape}")


class ArrayType(NamedTuple):
    """An array as annotated; dtype and shape are None where the annotation leaves them open."""

    dtype: np.dtype[np.generic] | None = None
    shape: tuple[int, ...] | None = None
    torch: bool = False


def array_schema(array: ArrayType) -> dict[str, object]:
    """Return the JSON Schema of an array written as nested lists."""
    if array.shape is None:
        return {"type": "array"}
    boolean = array.dtype is not None and array.dtype.kind == "b"
    integer = array.dtype is not None and array.dtype.kind in "iu"
    schema: dict[str, object] = {"type": "boolean" if boolean else "integer" if integer else "number"}
    for length in reversed(array.shape):
        schema = {"type": "array", "items": schema}
        if length >= 0:
            schema |= {"minItems": length, "maxItems": length}
    return schema


def tensor_spec(array: ArrayType) -> TensorSpec | None:
    """Return dtype and shape; None where the annotation leaves one of them open."""
    if array.dtype is None or array.shape is None:
        return None
    return TensorSpec(datatype=datatype(array.dtype), shape=array.shape)


def datatype(dtype: npt.DTypeLike) -> str:
    """Return the Open Inference Protocol's name of a numpy dtype; SpecError if it has none."""
    wanted = np.dtype(dtype).name
    for name, numpy_name in DATATYPES.items():
        if numpy_name == wanted:
            return name
    raise SpecError(f"no datatype for numpy's {wanted}; there are {', '.join(DATATYPES)}")


def array_type(annotation: object) -> ArrayType | None:
    """Return what an annotation asks of an array; None if it is no array (numpy) or tensor (torch)."""
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        found = array_type(inner)
        for extra in extras:
            if found is not None and isinstance(extra, Tensor):
                return found._replace(dtype=np.dtype(DATATYPES[extra.datatype]), shape=extra.shape)
        return found
    if annotation in array_kinds():
        return ArrayType()
    if get_origin(annotation) in array_kinds():
        scalar = [kind for dtype in get_args(annotation)[1:] for kind in get_args(dtype)]
        precise = len(scalar) == 1 and isinstance(scalar[0], type) and hasattr(np, scalar[0].__name__)
        concrete = precise and not scalar[0].__subclasses__()
        return ArrayType(np.dtype(scalar[0]) if concrete else None)
    if isinstance(annotation, type) and (annotation.__module__, annotation.__name__) == ("torch", "Tensor"):
        return ArrayType(torch=True)  # told by its name, so that torch is not imported for it
    return None


def as_array(value: object, array: ArrayType, at: str) -> object:
    """Return a value as the array asked for; ValueError names the place `at` and what is expected."""
    if array.torch:
        return _as_torch(value, array, at)
    found = np.asarray(value) if is_array(value) or is_scalar(value) else _from_list(value, at)
    if array.dtype is not None:
        found = _cast(found, array.dtype, at, lenient=not is_array(value))
    _check_shape(found.shape, array, at)
    return found


def _from_list(value: object, at: str) -> Array:
    if not isinstance(value, list | tuple | int | float):
        raise ValueError(f"{at}: expected an array, got {type_name(value)}")
    if isinstance(value, list | tuple):
        _check_no_text(value, at)
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{at}: expected an array, got lists of different lengths") from error
    except MemoryError as error:
        raise ValueError(f"{at}: expected an array, got one that there is no memory for") from error
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{at}: expected an array of numbers, got an array of {found.dtype.name}")
    return found


def _check_no_text(value: list[object] | tuple[object, ...], at: str) -> None:
    """ValueError where nested lists hold text: in numpy's array of them each item would be as wide as the longest."""
    if _adds_up(_flat(value)):
        return
    level: list[Iterable[object]] = [value]
    for _ in range(MAX_AXES):
        kinds = set(map(type, chain.from_iterable(level)))
        if any(issubclass(kind, str | bytes) for kind in kinds):
            raise ValueError(f"{at}: expected an array of numbers, got an array of strings")
        if not any(issubclass(kind, list | tuple) for kind in kinds):
            return
        level = [item for item in chain.from_iterable(level) if isinstance(item, list | tuple)]


def _flat(value: list[object] | tuple[object, ...]) -> Iterable[object]:
    """Return what lies as deep within nested lists as the first of all does."""
    items: Iterable[object] = value
    first: object = value
    for _ in range(MAX_AXES):
        first = first[0] if isinstance(first, list | tuple) and first else None
        if not isinstance(first, list | tuple):
            break
        items = chain.from_iterable(items)  # type: ignore[arg-type]  # where one is no list, it says so
    return items


def _adds_up(items: Iterable[object]) -> bool:
    """Whether items are numbers and no lists: a million added up take 3 ms, their types 17, an array of them 20."""
    try:
        with np.errstate(all="ignore"):
            sum(items)  # type: ignore[arg-type]  # whether it may be is the question
    except Exception:  # of whatever the items are
        return False
    return True


def _cast(found: Array, dtype: np.dtype[np.generic], at: str, *, lenient: bool) -> Array:
    """Return the array with the dtype. Numbers from JSON have no width (`lenient`): they need only fit."""
    if found.dtype == dtype:
        return found
    native = found.dtype.newbyteorder("=")
    if native == dtype or (lenient and not found.size):
        return found.astype(dtype)
    if not lenient or not _holds(dtype, found):
        raise ValueError(f"{at}: expected {_shown(dtype)}, got {_shown(found.dtype)}")
    return _converted(found, dtype, at)


def _converted(found: Array, dtype: np.dtype[np.generic], at: str) -> Array:
    """Return the numbers with the dtype; ValueError where one is too large for it, and would be infinite."""
    with np.errstate(over="ignore"):
        made = found.astype(dtype)
    if dtype.kind == "f" and (lost := np.isinf(made) & np.isfinite(found)).any():
        raise ValueError(f"{at}: expected {_shown(dtype)}, got {found[lost][0]}, which is too large for it")
    return made


def _holds(dtype: np.dtype[np.generic], found: Array) -> bool:
    if dtype.kind == "f":
        return found.dtype.kind in "iuf"
    if dtype.kind in "iu" and found.dtype.kind in "iu":
        limits = np.iinfo(dtype.name)
        return int(found.min()) >= limits.min and int(found.max()) <= limits.max
    return False


def _shown(dtype: np.dtype[np.generic]) -> str:
    try:
        return datatype(dtype)
    except SpecError:
        return dtype.name


def _as_torch(value: object, array: ArrayType, at: str) -> object:
    import torch  # noqa: PLC0415  # heavy, and only where an app has it

    if isinstance(value, torch.Tensor):
        if array.dtype is not None and value.dtype != getattr(torch, array.dtype.name):
            raise ValueError(f"{at}: expected {_shown(array.dtype)}, got {value.dtype}")
        _check_shape(tuple(value.shape), array, at)
        return value
    found = np.array(as_array(value, array._replace(torch=False), at))
    if isinstance(value, list) and array.dtype is None:
        found = _converted(found, np.dtype(np.float32), at)
    try:
        return torch.from_numpy(found)
    except TypeError as error:
        raise ValueError(f"{at}: no tensor holds {_shown(found.dtype)}") from error


def _check_shape(shape: tuple[int, ...], array: ArrayType, at: str) -> None:
    wanted = array.shape
    if wanted is None:
        return
    fits = len(shape) == len(wanted) and all(
        length in (-1, got) for length, got in zip(wanted, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{at}: expected shape {list(wanted)}, got {list(shape)}")


def type_name(value: object) -> str:
    """Return what a caller would call the type of a value, such as "an object" for a dict."""
    names = {dict: "an object", list: "a list", str: "a string", NoneType: "null"}
    return names.get(type(value), type(value).__name__)
