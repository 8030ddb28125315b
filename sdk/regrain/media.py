"""Values as bodies, and bodies as values: the media types that clients of an app send and read."""

from __future__ import annotations

import io
from http import HTTPStatus

import msgspec

from regrain.errors import RequestError, SpecError
from regrain.lazy_numpy import Array, is_array, is_scalar, np

OCTETS = "application/octet-stream"
NPY = "application/x-npy"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
ACCEPT = f"{NPY}, {OCTETS}, {JSON};q=0.9, */*;q=0.8"
"""An answer that is an array or bytes comes as such, everything else as JSON."""


def encoded(value: object) -> tuple[bytes, str]:
    """Return a value as a body and its media type; SpecError for one that cannot be sent."""
    if isinstance(value, bytes):
        return value, OCTETS
    if is_array(value):
        return _npy(value), NPY
    if isinstance(value, str):
        return _utf8(value), TEXT
    return to_json(value), JSON


def to_json(value: object) -> bytes:
    """Return a value as JSON; SpecError for one that JSON has not."""
    try:
        return msgspec.json.encode(value, enc_hook=_array_as_list)
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"a value of type {type(value).__name__} cannot be sent as JSON: {error}") from error


def decoded(body: bytes, content_type: str) -> object:
    """Return what an answer's body holds; RequestError (502) if it is not what it says."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == JSON or kind.endswith("+json"):
            answer: object = msgspec.json.decode(body)
            return answer
        if kind == NPY:
            return np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    except Exception as error:  # numpy has ast and tokenize read a header, and lets out whatever they raise
        why = str(error).partition("\n")[0] or type(error).__name__
        detail = f"the answer says it is {kind}, and is not: {why}"
        raise RequestError(HTTPStatus.BAD_GATEWAY, detail) from error
    return body.decode("utf-8", "replace") if kind.startswith("text/") else body


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SpecError(f"a text that UTF-8 does not hold cannot be sent: {error}") from error


def _array_as_list(value: object) -> object:
    if is_array(value) or is_scalar(value):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not supported")


def _npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    try:
        np.save(buffer, array, allow_pickle=False)
    except ValueError as error:
        raise SpecError(f"an array of {array.dtype} cannot be sent") from error
    return buffer.getvalue()
