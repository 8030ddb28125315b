"""Bodies become values: what a request carries, by its content type and the app's parameters.

| Content-Type | what the body is |
|---|---|
| application/json, */*+json | an object by parameter name; or the value itself, see below |
| application/x-npy | the array parameter |
| text/* | the str parameter |
| multipart/form-data | a part per parameter, each by its own type |
| anything else (octet-stream, image/png, ...) | the bytes parameter |
| none, or curl's default (x-www-form-urlencoded) | bytes, str or JSON, as the app's one open parameter says |

A JSON object is read by parameter name, unless the app has one "json" parameter alone and the object has no
key of that name: then the object is the value. Anything else in JSON is the value of the one open parameter.
A parameter is open while the query string does not give it; the query string gives str parameters. In JSON,
bytes are base64 and arrays nested lists.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

import msgspec
import numpy as np

from regrain.arrays import DATATYPES, ArrayType, as_array, type_name
from regrain.errors import RequestError
from regrain.manifest import Parameter
from regrain_watchdog.front import forms, npy

Values = dict[str, object]
NO_TYPE = ("", "application/x-www-form-urlencoded")
MAX_FIELDS = 256
_decode_json = msgspec.json.Decoder().decode


class Inputs:
    """Reads requests for an app.

    Args:
        parameters: the flow's parameters, from the manifest.
    """

    def __init__(self, parameters: tuple[Parameter, ...]) -> None:
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._required = tuple(parameter.name for parameter in parameters if parameter.required)

    def read(self, body: bytes, content_type: str, query: str) -> Values:
        """Return the values by parameter; RequestError (400, 415) says what is wrong and what is allowed."""
        values: Values = self._query(query) if query else {}
        if body:
            media = content_type.partition(";")[0].strip().lower()
            self._add(values, self._body(body, media, content_type, values))
        if not values.keys() >= set(self._required):
            self._refuse_missing(values, empty=not body)
        return values

    def _query(self, query: str) -> Values:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
        except ValueError as error:
            raise _bad(f"the query string is malformed: {error}") from error
        values: Values = {}
        for name, text in pairs:
            if self._parameter(name).kind != "str":
                raise _bad(f"parameter {name!r} cannot be in the query string, which gives str parameters")
            self._add(values, {name: text})
        return values

    def _body(self, body: bytes, media: str, content_type: str, given: Values) -> Values:
        if media == forms.MEDIA_TYPE:
            return self._form(body, content_type)
        if _is_json(media):
            return self._json(body, given)
        if media in NO_TYPE:
            kinds = {parameter.kind for parameter in self._open(given)}
            if not kinds & {"bytes", "str"}:
                return self._json(body, given)
            kind = "bytes" if "bytes" in kinds else "str"
        elif media in npy.MEDIA_TYPES:
            kind = "array"
        else:
            kind = "str" if media.startswith("text/") else "bytes"
        parameter = self._only(kind, given) or self._only("bytes", given)
        if parameter is None:
            raise self._unsupported(media, given)
        return {parameter.name: from_body(body, parameter, media)}

    def _json(self, body: bytes, given: Values) -> Values:
        value = _json(body)
        opened = self._open(given)
        lone = opened[0] if len(opened) == 1 else None
        if isinstance(value, dict):
            if lone is not None and lone.kind == "json" and lone.name not in value:
                return {lone.name: value}
            return {name: from_json(item, self._parameter(name)) for name, item in value.items()}
        if lone is None:
            raise _bad(f"the body must be a JSON object by parameter name; {self._allowed()}")
        return {lone.name: from_json(value, lone)}

    def _form(self, body: bytes, content_type: str) -> Values:
        values: Values = {}
        try:
            parts = forms.parts(body, content_type)
        except ValueError as error:
            raise _bad(f"the body is no multipart/form-data: {error}") from error
        for part in parts:
            media = part.content_type.partition(";")[0].strip().lower()
            self._add(values, {part.name: from_body(bytes(part.body), self._parameter(part.name), media)})
        return values

    def _add(self, values: Values, more: Values) -> None:
        for name, value in more.items():
            if name in values:
                raise _bad(f"parameter {name!r} is given twice")
            values[name] = value

    def _open(self, given: Mapping[str, object]) -> list[Parameter]:
        """The parameters that a body may be for: not given yet; required ones if there are any."""
        found = [parameter for name, parameter in self._parameters.items() if name not in given]
        return [parameter for parameter in found if parameter.required] or found

    def _only(self, kind: str, given: Mapping[str, object]) -> Parameter | None:
        found = [parameter for parameter in self._open(given) if parameter.kind == kind]
        return found[0] if len(found) == 1 else None

    def _parameter(self, name: str) -> Parameter:
        parameter = self._parameters.get(name)
        if parameter is None:
            raise _bad(f"there is no parameter {name!r}; {self._allowed()}")
        return parameter

    def _refuse_missing(self, values: Values, *, empty: bool) -> None:
        missing = [name for name in self._required if name not in values]
        what = "the request has no body" if empty else "the request is incomplete"
        raise _bad(f"{what}: parameter {missing[0]!r} is missing; {self._allowed()}")

    def _allowed(self) -> str:
        if not self._parameters:
            return "the app takes no parameters"
        told = (f"{name} ({parameter.kind})" for name, parameter in self._parameters.items())
        return f"the app takes {', '.join(told)}"

    def _unsupported(self, media: str, given: Values) -> RequestError:
        allowed = ["application/json", "multipart/form-data"]
        allowed += ["application/octet-stream, image/* and others"] if self._only("bytes", given) else []
        allowed += ["text/plain"] if self._only("str", given) else []
        allowed += ["application/x-npy"] if self._only("array", given) else []
        return RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            f"Content-Type {media!r} says nothing to this app, allowed are {', '.join(allowed)}; "
            f"{self._allowed()}",
        )


def from_json(value: object, parameter: Parameter) -> object:
    """Return what JSON gave for a parameter as its value; RequestError (400) if it does not fit."""
    return _CONVERTERS[parameter.kind](value, parameter)


def from_body(body: bytes, parameter: Parameter, media: str) -> object:
    """Return a whole body (or part) as a parameter's value; RequestError (400, 415) if it does not fit."""
    if parameter.kind == "bytes":
        return body
    if _is_json(media):
        return from_json(_json(body), parameter)
    if parameter.kind == "str":
        return _text(body, parameter)
    if media in npy.MEDIA_TYPES and parameter.kind == "array":
        return _checked_array(_npy(body, parameter), parameter)
    if media in (*NO_TYPE, "text/plain"):
        return from_json(_json(body), parameter)
    raise RequestError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"parameter {parameter.name!r} ({parameter.kind}) cannot be read from {media!r}, allowed are "
        f"application/json{' and application/x-npy' if parameter.kind == 'array' else ''}",
    )


def _json(body: bytes) -> object:
    try:
        value: object = _decode_json(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _bad(f"the body is no JSON: {error}") from error
    return value


def _npy(body: bytes, parameter: Parameter) -> object:
    try:
        return npy.read(body)
    except ValueError as error:
        raise _bad(f"parameter {parameter.name!r} is {error}") from error


def _text(body: bytes, parameter: Parameter) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise _bad(f"parameter {parameter.name!r} must be text in UTF-8: {error.reason}") from error


def _checked_array(value: object, parameter: Parameter) -> object:
    tensor = parameter.tensor
    wanted = ArrayType()
    if tensor is not None:
        wanted = ArrayType(np.dtype(DATATYPES[tensor.datatype]), tensor.shape)
    try:
        return as_array(value, wanted, parameter.name)
    except (ValueError, OverflowError) as error:
        raise _bad(f"parameter {error}") from error


def _json_bytes(value: object, parameter: Parameter) -> object:
    if not isinstance(value, str):
        raise _bad(f"parameter {parameter.name!r}: expected bytes as a base64 string, got {type_name(value)}")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _bad(f"parameter {parameter.name!r}: expected bytes as a base64 string: {error}") from error


def _json_text(value: object, parameter: Parameter) -> object:
    if not isinstance(value, str):
        raise _bad(f"parameter {parameter.name!r}: expected a string, got {type_name(value)}")
    return value


def _json_any(value: object, _parameter: Parameter) -> object:
    return value


_CONVERTERS: dict[str, Callable[[object, Parameter], object]] = {
    "bytes": _json_bytes,
    "str": _json_text,
    "array": _checked_array,
    "json": _json_any,
}


def _is_json(media: str) -> bool:
    return media == "application/json" or media.endswith("+json")


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)
