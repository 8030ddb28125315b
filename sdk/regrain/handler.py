"""An untouched OpenFaaS handler as an app: it becomes one stage that speaks raw HTTP.

`handle(event, context)` is that of OpenFaaS' python3-http templates, `handle(req)` that of python3-flask: events,
contexts and returns are as there, so that a function moves here without an edit and can be cut into stages later. There
is no Flask around it: what asks for the current application or request fails.
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

Handle = Callable[..., object]

TEXT = "text/html; charset=utf-8"
"""What Flask, and so OpenFaaS' template, says of a returned str."""

RAW_BODY = "RAW_BODY"
"""With a true value in it, the environment variable by which `handle(req)` gets bytes, as in OpenFaaS' template."""

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


class Query(dict[str, str]):
    """The first value of each name, asked for as of Flask's `request.args`."""

    def get(  # type: ignore[override]  # Flask's has one parameter more than dict's
        self,
        key: str,
        default: object = None,
        type: Callable[[str], object] = str,  # noqa: A002
    ) -> object:
        """Return a value, made of its text by `type`; the default where there is none, or none of that type."""
        try:
            return type(self[key])
        except (KeyError, ValueError, TypeError):
            return default

    def getlist(self, key: str, type: Callable[[str], object] = str) -> list[object]:  # noqa: A002
        """Return the one value in a list, which is empty where `get` gives the default."""
        missing = object()
        found = self.get(key, missing, type)
        return [] if found is missing else [found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The request as a handler sees it: `body` as bytes, `query` with the first value of each name."""

    body: bytes
    headers: Headers
    method: str
    query: Query
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerContext:
    """Where a handler runs."""

    hostname: str = field(default_factory=lambda: os.uname().nodename)


class HandlerReturnError(RegrainError):
    """A handler returned what no HTTP response can be made of; the message names its type."""


def is_handler(module: ModuleType) -> bool:
    """Whether a module holds a function `handle` that takes an event and a context, or what was sent."""
    handle = getattr(module, "handle", None)
    return inspect.isfunction(handle) and len(inspect.signature(handle).parameters) in (1, 2)


def from_handler(handle: Handle) -> Callable[[Request], Response]:
    """Return a stage body that calls a handler, with an event and a context or, if it takes one, with the text sent.

    The handler may return str, bytes, a number, None (an empty body), list (JSON), dict (with any of
    statusCode, body and headers: the response itself; else JSON), or Flask's tuples (body, status),
    (body, headers) and (body, status, headers), or a Response of Flask's. Anything else raises HandlerReturnError.
    """
    takes_text = len(inspect.signature(handle).parameters) == 1

    def body(request: Request) -> Response:
        if takes_text:
            return as_response(handle(_sent(request.body)))
        event = Event(
            body=request.body,
            headers=Headers(request.headers),
            method=request.method,
            query=Query(request.query),
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


def _sent(body: bytes) -> bytes | str:
    is_raw = os.environ.get(RAW_BODY, "").lower() in ("1", "true", "yes", "on")
    return body if is_raw else body.decode(errors="replace")


def handler_app(module: ModuleType, name: str) -> App:
    """Return the one-stage app that serves a module's `handle(event, context)` or `handle(req)`.

    Its stage is not idempotent: nobody promised that a handler may be called twice for one request.

    Raises:
        LoadError: the module holds no such function.
    """
    if not is_handler(module):
        raise LoadError(f"{module.__name__} holds no function handle(event, context), nor handle(req)")
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
    if callable(data := getattr(returned, "get_data", None)):  # Flask's own
        given = [pair for pair in returned.headers.items() if pair[0].lower() != "content-length"]  # type: ignore[attr-defined]
        return Response(body=data(), status=_status(returned.status_code), headers=_headers(given, TEXT))  # type: ignore[attr-defined]
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
    try:
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers)  # type: ignore[call-overload]  # told by the except
        given = {str(name): str(value) for name, value in pairs}
    except (TypeError, ValueError) as error:
        kind = type(headers).__name__
        raise HandlerReturnError(
            f"handle() returned headers of type {kind}; allowed are dict and pairs"
        ) from error
    if len({name.lower() for name in given}) < len(pairs):
        raise HandlerReturnError(
            "handle() returned a header more than once; a response here has each name once"
        )
    if not any(name.lower() == "content-type" for name in given):
        given["Content-Type"] = content_type
    return given
