"""Tensors become the parameters of calls, and answers tensors.

A dimension in front of what a parameter declares is a batch: N items are N calls, answered together. BYTES of
shape [N] (or [N, 1]) are N items as well, [] is one. Parameters that come once beside a batch of others go to
every item. The answers of a batch are put together along a new first dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec
import numpy as np

from regrain.arrays import DATATYPES
from regrain.errors import RequestError
from regrain.lazy_numpy import Array
from regrain.manifest import Parameter
from regrain.request import Request
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.content import Values, from_body, from_json
from regrain_watchdog.front.oip.model import MAX_ITEMS, OUTPUT, Model
from regrain_watchdog.front.oip.tensors import BYTES, Tensor

JSON = "application/json"
DATATYPE_OF = {name: datatype for datatype, name in DATATYPES.items()}


def values_of(model: Model, tensors: Sequence[Tensor], headers: dict[str, str]) -> tuple[list[Values], bool]:
    """Return the parameters of each call of a request, and whether it is a batch.

    RequestError (400) names the input that is wrong, and what is allowed.
    """
    given: dict[str, list[object]] = {}
    led = whole = False
    for tensor in tensors:
        parameter = _parameter(model, tensor, given)
        rows = _rows(tensor, parameter)
        is_array = tensor.datatype != BYTES
        led |= rows is not None and is_array
        whole |= rows is None and is_array
        given[tensor.name] = [
            _value(row, parameter, headers) for row in ([tensor.data] if rows is None else rows)
        ]
    _refuse_missing(model, given)
    count = max([1, *map(len, given.values())])
    for name, items in given.items():
        if len(items) not in (1, count):
            raise _bad(
                f"input {name!r} has {len(items)} items, another has {count}; allowed are as many, or 1"
            )
    calls = [
        {name: items[at if len(items) > 1 else 0] for name, items in given.items()} for at in range(count)
    ]
    listed = any(tensor.datatype == BYTES and tensor.shape for tensor in tensors)
    return calls, led or count > 1 or (listed and not whole)


def tensors_of(
    model: Model, replies: Sequence[Reply], *, batched: bool, wanted: Sequence[str]
) -> list[Tensor]:
    """Return the outputs that are wanted (all if none is named) of the answers of a request's calls.

    RequestError: an answer that is an error itself, 500 where answers cannot be put together.
    """
    rows = [_named(model, reply) for reply in replies]
    early = rows[0].keys() - set(model.outputs)
    names = [name for name in rows[0] if not wanted or name in wanted or name in early]
    for row in rows:
        if row.keys() != rows[0].keys():
            raise _broken("some of the request's answers have other outputs than others")
    tensors = []
    for name in names:
        items = [_tensor(name, row[name]) for row in rows]
        tensors.append(_stacked(name, items) if batched else items[0])
    return tensors


def check_outputs(model: Model, wanted: Sequence[str]) -> None:
    """Refuse (400) a request for outputs that the model has not."""
    for name in wanted:
        if name not in model.outputs:
            raise _bad(f"there is no output {name!r}; the model gives {', '.join(model.outputs)}")


def _parameter(model: Model, tensor: Tensor, given: dict[str, list[object]]) -> Parameter:
    parameter = model.parameters.get(tensor.name)
    if parameter is None:
        raise _bad(
            f"there is no input {tensor.name!r}; the model takes {', '.join(model.parameters) or 'none'}"
        )
    if tensor.name in given:
        raise _bad(f"input {tensor.name!r} is given twice")
    if (tensor.datatype == BYTES) != (parameter.kind != "array"):
        wanted = parameter.tensor.datatype if parameter.tensor else f"one of {', '.join(DATATYPES)}"
        expected = BYTES if parameter.kind != "array" else wanted
        raise _bad(f"input {tensor.name!r}: expected datatype {expected}, got {tensor.datatype}")
    return parameter


def _rows(tensor: Tensor, parameter: Parameter) -> Sequence[object] | None:
    """The items of a batch; None for a tensor that is one value itself."""
    shape = tensor.shape
    if isinstance(tensor.data, list):
        if not shape:
            return None
        if shape[1:] not in ((), (1,)):
            raise _bad(f"input {tensor.name!r}: expected shape [N] or [N, 1], got {list(shape)}")
    elif parameter.tensor is None or len(shape) != len(parameter.tensor.shape) + 1:
        return None
    if not 1 <= shape[0] <= MAX_ITEMS:
        raise _bad(f"input {tensor.name!r} has {shape[0]} items, allowed are 1 to {MAX_ITEMS}")
    return tensor.data if isinstance(tensor.data, list) else [tensor.data[at] for at in range(shape[0])]


def _value(row: object, parameter: Parameter, headers: dict[str, str]) -> object:
    if isinstance(row, list):  # BYTES of shape []
        row = row[0]
    if not isinstance(row, bytes):
        return from_json(np.asarray(row), parameter)
    if parameter.kind == "request":
        return Request(body=row, headers=headers, method="POST", query={}, path="/")
    try:
        return from_body(row, parameter, JSON if parameter.kind == "json" else "")
    except RequestError as error:
        raise _bad(f"input {parameter.name!r}: {error.detail}") from error


def _refuse_missing(model: Model, given: dict[str, list[object]]) -> None:
    for name, parameter in model.parameters.items():
        if parameter.required and name not in given:
            raise _bad(f"input {name!r} is missing; the model takes {', '.join(model.parameters)}")


def _named(model: Model, reply: Reply) -> dict[str, object]:
    """An answer's outputs by name; one that a stage gave early is one output whatever it holds."""
    value, status = reply.value, reply.status
    if model.raw and isinstance(value, dict) and value.keys() == {"body", "status", "headers"}:
        value, status = value["body"], value["status"]
    if isinstance(status, int) and status >= HTTPStatus.BAD_REQUEST:
        raise _refused(value, status)
    if model.is_split and isinstance(value, dict) and model.outputs == tuple(value):
        return value
    if model.is_split and isinstance(value, list) and len(value) == len(model.outputs):
        return dict(zip(model.outputs, value, strict=True))
    return {OUTPUT: value}


def _tensor(name: str, value: object) -> Tensor:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        native = array.dtype.newbyteorder("=")
        if native.name in DATATYPE_OF:
            datatype = DATATYPE_OF[native.name]
            return Tensor(
                name=name, datatype=datatype, shape=array.shape, data=array.astype(native, copy=False)
            )
    return Tensor(name=name, datatype=BYTES, shape=(1,), data=[_bytes(value)])


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    try:
        return _encode_json(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _broken(str(error)) from error


def _stacked(name: str, items: Sequence[Tensor]) -> Tensor:
    first = items[0]
    for item in items:
        if (item.datatype, item.shape) != (first.datatype, first.shape):
            shapes = f"{first.datatype} {list(first.shape)} and {item.datatype} {list(item.shape)}"
            raise _broken(f"output {name!r} has {shapes} in one batch: ask for these items one by one")
    shape = (len(items), *first.shape)
    if first.datatype == BYTES:
        data = [text for item in items for text in item.data if isinstance(text, bytes)]
        return Tensor(name=name, datatype=BYTES, shape=(len(items),), data=data)
    arrays: list[Array] = [item.data for item in items if isinstance(item.data, np.ndarray)]
    return Tensor(name=name, datatype=first.datatype, shape=shape, data=np.stack(arrays))


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"JSON has no {type(value).__name__}")


_encode_json = msgspec.json.Encoder(enc_hook=_plain).encode


def _refused(value: object, status: int) -> RequestError:
    """A stage's own answer with an error's status, as the error that it is."""
    known = status in HTTPStatus.__members__.values()
    detail = value if isinstance(value, str) else _bytes(value).decode("utf-8", "replace")
    return RequestError(HTTPStatus(status) if known else HTTPStatus.INTERNAL_SERVER_ERROR, detail)


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)


def _broken(why: str) -> RequestError:
    return RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, f"the app's answer is no tensor: {why}")
