"""Heads of requests and answers as they are passed on: everything but what belongs to one connection alone."""

from __future__ import annotations

import re
from http import HTTPStatus

import httptools

from regrain.errors import RequestError
from regrain_watchdog.front.upstream.client import Answer, Fields
from regrain_watchdog.front.upstream.exchange import Exchange, Request

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields of one connection (RFC 9110, 7.6.1), with those that Connection names."""
EXPECT = b"expect"
LENGTH = b"content-length"
BODILESS = frozenset({204, 304})
CHUNKED = b"transfer-encoding: chunked\r\n"
END = b"0\r\n\r\n"
DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def path_of(target: bytes) -> bytes:
    """Return a request's target as path and query: an absolute one loses scheme and host.

    Raises:
        RequestError: 400, it is none.
    """
    if target.startswith(b"/") or target == b"*":
        return target
    try:
        url = httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "the request's target is no path") from error
    return (url.path or b"/") + (b"?" + url.query if url.query else b"")


def request_head(request: Request, prefix: bytes, call_id: bytes, length: int | None) -> bytes:
    """Return a request's head for the upstream.

    length: of a body that is known whole; None where it is streamed, framed as it came.
    """
    dropped = HOP_BY_HOP | named(request.fields)
    lines = [b"%s %s%s HTTP/1.1\r\n" % (request.method.encode("latin-1"), prefix, path_of(request.target))]
    hosts = has_id = 0
    for name, value in request.fields:
        lower = name.lower()
        if lower in dropped or lower in (EXPECT, LENGTH):
            continue
        hosts += lower == b"host"
        has_id += lower == b"x-call-id"
        lines.append(b"%s: %s\r\n" % (name, value))
    if hosts != 1 and not (request.is_old and hosts == 0):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"a request names one Host, this one names {hosts}")
    if not hosts:
        lines.append(b"Host: upstream\r\n")
    if not has_id:
        lines.append(b"X-Call-Id: %s\r\n" % call_id)
    if length is None:
        lines.append(CHUNKED if request.length is None else b"Content-Length: %d\r\n" % request.length)
    elif length or request.length is None or any(name.lower() == LENGTH for name, _ in request.fields):
        lines.append(b"Content-Length: %d\r\n" % length)
    lines.append(b"\r\n")
    return b"".join(lines)


def answer_head(
    answer: Answer, exchange: Exchange, call_id: bytes, seconds: float, whole: int | None
) -> tuple[bytes, bool]:
    """Return an answer's head for the caller, and whether its body goes out in chunks.

    whole: bytes of a body that has come whole; None where it is streamed.
    """
    request = exchange.request
    dropped = HOP_BY_HOP | named(answer.fields)
    lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.reason)]
    sized = has_id = False
    for name, value in answer.fields:
        lower = name.lower()
        if lower in dropped:
            continue
        sized = sized or lower == LENGTH
        has_id = has_id or lower == b"x-call-id"
        lines.append(b"%s: %s\r\n" % (name, value))
    if not has_id:
        lines.append(b"X-Call-Id: %s\r\n" % call_id)
    lines.append(b"X-Duration-Seconds: %.6f\r\n" % seconds)
    bodiless = request.method == "HEAD" or answer.status in BODILESS
    framing = b"" if sized or bodiless else _framing(exchange, whole)
    lines.append(framing)
    if not exchange.stays:
        lines.append(b"connection: close\r\n")
    elif request.is_old:
        lines.append(b"connection: keep-alive\r\n")
    lines.append(b"\r\n")
    return b"".join(lines), framing == CHUNKED


def _framing(exchange: Exchange, whole: int | None) -> bytes:
    """How the end of a body is told where the upstream did not say its length."""
    if whole is not None:
        return b"content-length: %d\r\n" % whole
    if exchange.request.is_old:
        exchange.keeps = False  # the end of the connection is the only other end that HTTP/1.0 understands
        return b""
    return CHUNKED


def chunk(data: bytes) -> bytes:
    """Return a piece of a body in chunked framing."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def go_duration(text: str) -> float | None:
    """Return a Go duration such as "1m30s" or "500ms" in seconds; None for what is none."""
    if not text or DURATION.sub("", text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in DURATION.findall(text))


def named(fields: Fields) -> frozenset[bytes]:
    """Return the fields that Connection names as its own, in lower case."""
    found: set[bytes] = set()
    for name, value in fields:
        if len(name) == 10 and name.lower() == b"connection":
            found.update(token.strip() for token in value.lower().split(b","))
    return frozenset(found.difference((b"keep-alive", b"close", b"host", LENGTH)))
