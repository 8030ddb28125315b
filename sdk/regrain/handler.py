"""An untouched OpenFaaS handler as an app: `handle(event, context)` becomes one stage that speaks raw HTTP.

Events, contexts and returns follow OpenFaaS' python3-http template and Flask's, so that a function moves here
without an edit and can be cut into stages later.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import update_wrapper
from http import HTTPStatus
from types import ModuleType

from regrain.app import App
from regrain.errors import LoadError, RegrainError
from regrain.request import Request, Response

Handle = Callable[["Event", "HandlerContext"], object]

TEXT = "text/html; charset=utf-8"
"""What Flask, and so OpenFaaS' template, says of a returned str."""

_ENVELOPE = frozenset({"statusCode", "body", "headers"})


class Headers(Mapping[str, str]):
    """A request's headers, found whatever the case of their names, as handlers know them from Flask."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._items = {name.title(): value for name, value in headers.items()}

    def __getitem__(self, name: str) -> str:
        return self._items[name.title()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The request as a handler sees it: `body` as bytes, `query` with the first value of each name."""

    body: bytes
    headers: Headers
    method: str
    query: dict[str, str]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerContext:
    """Where a handler runs."""

    hostname: str = field(default_factory=lambda: os.uname().nodename)


class HandlerReturnError(RegrainError):
    """A handler returned what no HTTP response can be made of; the message names its type."""


def is_handler(module: ModuleType) -> bool:
    """Whether a module holds a function `handle` that takes an event and a context."""
    handle = getattr(module, "handle", None)
    return inspect.isfunction(handle) and len(inspect.signature(handle).parameters) == 2


def from_handler(handle: Handle) -> Callable[[Request], Response]:
    """Return a stage body that calls a handler.

    The handler may return str, bytes, a number, None (an empty body), list (JSON), dict (with any of
    statusCode, body and headers: the response itself; else JSON), or Flask's tuples (body, status),
    (body, headers) and (body, status, headers). Anything else raises HandlerReturnError.
    """

    def body(request: Request) -> Response:
        event = Event(
            body=request.body,
            headers=Headers(request.headers),
            method=request.method,
            query=request.query,
            path=request.path,
        )
        return as_response(handle(event, HandlerContext()))

    signature = inspect.signature(body)
    body.__annotations__ = {"request": Request, "return": Response}
    update_wrapper(
        body, handle, assigned=("__doc__",), updated=()
    )  # its source tells one version from the next
    body.__dict__["__signature__"] = signature
    return body


def handler_app(module: ModuleType, name: str) -> App:
    """Return the one-stage app that serves a module's `handle(event, context)`.

    Its stage is not idempotent: nobody promised that a handler may be called twice for one request.

    Raises:
        LoadError: the module holds no such function.
    """
    if not is_handler(module):
        raise LoadError(f"{module.__name__} holds no function handle(event, context)")
    app = App(name)
    handle: Handle = module.handle
    stage = app.stage(name="handle", idempotent=False)(from_handler(handle))

    def serve(request: Request) -> Response:
        return stage(request)

    serve.__doc__ = module.__doc__
    app.flow(serve)
    return app


def as_response(returned: object) -> Response:
    """Return what a handler returned as a response; HandlerReturnError if it is none."""
    status: object = HTTPStatus.OK
    headers: object = {}
    body = returned
    if isinstance(returned, tuple):
        body, status, headers = _flask(returned)
    elif isinstance(returned, dict) and _ENVELOPE & returned.keys():
        body, status = returned.get("body", b""), returned.get("statusCode", HTTPStatus.OK)
        headers = returned.get("headers", {})
    sent, content_type = _body(body)
    return Response(body=sent, status=_status(status), headers=_headers(headers, content_type))


def _flask(returned: tuple[object, ...]) -> tuple[object, object, object]:
    if len(returned) == 2 and isinstance(returned[1], dict | list):
        return returned[0], HTTPStatus.OK, returned[1]
    if len(returned) == 2:
        return returned[0], returned[1], {}
    if len(returned) == 3:
        return returned[0], returned[1], returned[2]
    raise HandlerReturnError(f"handle() returned a tuple of {len(returned)}; a response has 2 or 3 parts")


def _body(body: object) -> tuple[bytes, str]:
    if body is None:
        return b"", TEXT
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    if isinstance(body, str | int | float):
        return str(body).encode(), TEXT
    if isinstance(body, dict | list):
        try:
            return json.dumps(body).encode(), "application/json"
        except (TypeError, ValueError) as error:
            raise HandlerReturnError(
                f"handle() returned a {type(body).__name__} that is no JSON: {error}"
            ) from error
    allowed = "allowed are str, bytes, numbers, dict, list and None"
    raise HandlerReturnError(f"handle() returned a body of type {type(body).__name__}; {allowed}")


def _status(status: object) -> int:
    text = str(int(status)) if isinstance(status, int) else str(status).partition(" ")[0]
    if not (text.isdecimal() and 200 <= int(text) <= 599):
        raise HandlerReturnError(f"handle() returned the status {status!r}; allowed are 200 to 599")
    return int(text)


def _headers(headers: object, content_type: str) -> dict[str, str]:
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    try:
        given = {str(name): str(value) for name, value in pairs}  # type: ignore[attr-defined]  # told by the except
    except (TypeError, ValueError) as error:
        kind = type(headers).__name__
        raise HandlerReturnError(
            f"handle() returned headers of type {kind}; allowed are dict and pairs"
        ) from error
    if not any(name.lower() == "content-type" for name in given):
        given["Content-Type"] = content_type
    return given
