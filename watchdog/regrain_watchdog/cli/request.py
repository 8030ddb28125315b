"""Turn what `regrain invoke` was given into a request: a body with its content type, and a query string."""

from __future__ import annotations

import mimetypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from urllib3 import encode_multipart_formdata

from regrain.errors import SpecError

OCTETS, JSON, TEXT = "application/octet-stream", "application/json", "text/plain"
TYPES = {".npy": "application/x-npy", ".json": JSON, ".txt": TEXT}
"""What mimetypes does not know, or knows differently from one machine to the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What a request carries; `query` are parameters that go into the address."""

    data: bytes = b""
    content_type: str = ""
    query: dict[str, str] = field(default_factory=dict)


def read(body: str | None, params: Sequence[str], content_type: str) -> Body:
    """Return the request that BODY and --param mean.

    Args:
        body: text, "@file", "-" (standard input) or None.
        params: "name=value" each, with the value JSON, else text, or "@file".
        content_type: wins over what body or file look like, if it is not "".

    Raises:
        SpecError: a parameter is written wrong, or a file cannot be read.
    """
    pairs = dict(_split(param) for param in params)
    if len(pairs) < len(params):
        raise SpecError(f"--param must name each parameter once, given were {', '.join(params)}")
    if body is not None:
        if files := [name for name, value in pairs.items() if value.startswith("@")]:
            raise SpecError(f"--param {files[0]}=@file goes without BODY: give the body as a --param too")
        data, found = _body(body)
        return Body(data=data, content_type=content_type or found, query=pairs)
    if any(value.startswith("@") for value in pairs.values()):
        return _form(pairs)
    values = {name: _value(text) for name, text in pairs.items()}
    return Body(data=msgspec.json.encode(values), content_type=content_type or JSON)


def _split(param: str) -> tuple[str, str]:
    name, equals, value = param.partition("=")
    if not equals or not name:
        raise SpecError(f"--param must be name=value or name=@file, was {param!r}")
    return name, value


def _body(body: str) -> tuple[bytes, str]:
    """BODY as bytes, and the type it looks like."""
    if body == "-":
        return sys.stdin.buffer.read(), OCTETS
    if body.startswith("@"):
        return _file(body)
    return body.encode(), JSON if _is_json(body) else TEXT


def _file(value: str) -> tuple[bytes, str]:
    path = Path(value.removeprefix("@"))
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}") from error
    return data, TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or OCTETS


def _form(pairs: dict[str, str]) -> Body:
    """A form: files as they are, everything else as JSON, or as text where it is none."""
    parts: dict[str, tuple[str, bytes, str]] = {}
    for name, value in pairs.items():
        if value.startswith("@"):
            data, found = _file(value)
            parts[name] = (Path(value[1:]).name, data, found)
        else:
            parts[name] = (name, value.encode(), TEXT if isinstance(_value(value), str) else JSON)
    data, content_type = encode_multipart_formdata(parts)
    return Body(data=data, content_type=content_type)


def _value(text: str) -> object:
    """Text as JSON, or as it is where it is none."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return value


def _is_json(text: str) -> bool:
    """Whether text is meant as JSON: it decodes, and is no bare word or number."""
    return text.lstrip()[:1] in ("{", "[", '"') and _value(text) is not text
