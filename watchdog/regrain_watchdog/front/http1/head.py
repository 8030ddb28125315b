"""A request's head: from what the parser found to what handlers are given, or a refusal.

llhttp refuses by itself malformed lines, folded or odd header values, Content-Length that comes twice or beside
Transfer-Encoding; here is what it leaves to its users.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

import httptools

from regrain_watchdog.front.http1.limits import MAX_FIELDS, RefusedError

RawFields = list[tuple[bytes, bytes]]
MAX_DIGITS = 20
"""Digits of a body's length: llhttp bounds its value, and not the zeros before it."""


@dataclass(slots=True)
class Head:
    """A request's head, as `handler.Scope` has it.

    Attributes:
        length: of the body, in bytes; None where it comes in chunks.
        is_old: whether it is HTTP/1.0, whose callers know no chunks.
        expects: whether the caller waits to be told to send the body.
    """

    method: str
    path: str
    query_string: str
    headers: dict[str, str]
    length: int | None
    is_old: bool
    expects: bool


def read(method: bytes, target: bytes, fields: RawFields, version: str) -> Head:
    """Return the head; RefusedError where it must not be served."""
    if version not in ("1.1", "1.0"):
        raise RefusedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"HTTP/{version} is not spoken here")
    if len(fields) > MAX_FIELDS:
        detail = f"the request has more than {MAX_FIELDS} headers"
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
    is_old = version == "1.0"
    headers = _headers(fields)
    if "host" not in headers and not is_old:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the request has no Host header")
    length: int | None = _length(headers.get("content-length", "0"))
    if "transfer-encoding" in headers:
        _check_coding(headers["transfer-encoding"], is_old)
        length = None
    path, query = _split(target)
    expects = "expect" in headers and not is_old and _expects(headers["expect"])
    return Head(method.decode(), path, query, headers, length, is_old, expects)


def _headers(fields: RawFields) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in fields:
        key = name.decode("ascii").lower()
        found = text(value.rstrip(b" \t"))
        if key in headers:
            if key == "host":
                raise RefusedError(HTTPStatus.BAD_REQUEST, "the request has more than one Host header")
            found = f"{headers[key]}, {found}"
        headers[key] = found
    return headers


def text(value: bytes) -> str:
    """Return what a header says: UTF-8 where it is that; HTTP itself leaves open what bytes beyond ASCII mean."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _length(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"Content-Length has more than {MAX_DIGITS} digits")
    return int(digits)


def _check_coding(coding: str, is_old: bool) -> None:
    if is_old:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no Transfer-Encoding")
    if coding.lower() != "chunked":
        detail = f"Transfer-Encoding {coding!r} is not known, allowed is chunked"
        raise RefusedError(HTTPStatus.NOT_IMPLEMENTED, detail)


def _expects(text: str) -> bool:
    if text.lower() != "100-continue":
        detail = f"Expect {text!r} cannot be met, allowed is 100-continue"
        raise RefusedError(HTTPStatus.EXPECTATION_FAILED, detail)
    return True


def _split(target: bytes) -> tuple[str, str]:
    """A target's path, decoded, and query; the path of one that names a host begins after it."""
    text = target.decode("latin-1")
    if not text.startswith(("/", "*")):
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError as error:
            raise RefusedError(
                HTTPStatus.BAD_REQUEST, "the request's target is no path and no URL"
            ) from error
        path, query = (url.path or b"/").decode("latin-1"), (url.query or b"").decode("latin-1")
    else:
        path, _, query = text.partition("?")
    return unquote(path) if "%" in path else path, query
