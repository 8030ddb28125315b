"""Requests and results of the Open Inference Protocol as its messages."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.grpc import inference_pb2 as pb
from regrain_watchdog.front.oip.inference import Request, Result, refuse, timeout_of
from regrain_watchdog.front.oip.tensors import ALLOWED, BYTES, Tensor, from_list, from_raw, to_raw

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""Which contents carry a datatype."""


def read(message: pb.ModelInferRequest) -> Request:
    """Return what a message asks for; RequestError (400) says what is wrong with it."""
    parameters = _parameters(message.parameters)
    refuse(parameters)
    for output in message.outputs:
        refuse(_parameters(output.parameters))
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise _bad(
            f"there are {len(message.inputs)} inputs and {len(raw)} raw contents: allowed are as many, or 0"
        )
    tensors = []
    for place, one in enumerate(message.inputs):
        refuse(_parameters(one.parameters))
        if not raw:
            tensors.append(_typed(one))
        elif one.HasField("contents"):
            raise _bad(f"input {one.name!r} has contents beside raw contents: allowed are either")
        else:
            tensors.append(from_raw(one.name, one.datatype, one.shape, raw[place]))
    return Request(
        model=message.model_name,
        version=message.model_version,
        id=message.id,
        inputs=tensors,
        outputs=[output.name for output in message.outputs],
        timeout=timeout_of(parameters),
    )


def write(result: Result) -> pb.ModelInferResponse:
    """Return a result as a message, with raw contents."""
    message = pb.ModelInferResponse(
        model_name=result.model.name, model_version=result.model.version, id=result.id
    )
    for tensor in result.outputs:
        message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        message.raw_output_contents.append(to_raw(tensor))
    return message


def _typed(one: pb.ModelInferRequest.InferInputTensor) -> Tensor:
    field = CONTENTS.get(one.datatype)
    if field is None and one.datatype in ALLOWED:
        raise _bad(f"input {one.name!r}: {one.datatype} comes in raw contents alone")
    others = [found.name for found, _ in one.contents.ListFields() if found.name != field]
    if field is not None and others:
        raise _bad(f"input {one.name!r}: {one.datatype} comes in {field}, not in {others[0]}")
    data: list[object] = list(getattr(one.contents, field)) if field else []
    return from_list(one.name, one.datatype, one.shape, data)


def _parameters(given: Mapping[str, pb.InferParameter]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, parameter in given.items():
        kind = parameter.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(parameter, kind)
    return found


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)
