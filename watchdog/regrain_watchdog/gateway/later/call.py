"""A call that is run later, what its function answered, and what clients are told about it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Self
from urllib.parse import urlsplit

from msgspec import Struct, field

from regrain.errors import RequestError, SpecError
from regrain.units import read_whole
from regrain_watchdog.front.handler import Scope
from regrain_watchdog.gateway.later.course import MOST_RETRIES, RETRIES, State
from regrain_watchdog.gateway.spec import Wire
from regrain_watchdog.load.client import Target

CALL_ID = "x-call-id"
CALLBACK = "x-callback-url"
RETRY_MAX = "x-retry-max"
LONGEST_ID = 128
LONGEST_URL = 2048


class Call(Struct, frozen=True, kw_only=True):
    """A request to be made of a function.

    id: what its caller knows it by; several may have the same. path: as the function sees it, decoded. query: as it
    came. headers: by name in lower case. callback: the URL that its result is sent to, "" for none.
    retries: after the first try, at most.
    """

    id: str
    namespace: str
    function: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    callback: str = ""
    retries: int = RETRIES

    @classmethod
    def of(cls, namespace: str, function: str, scope: Scope, body: bytes) -> Self:
        """Read a request, which has its X-Call-Id by now; RequestError 400 names the header that is wrong."""
        return cls(
            id=_id(scope.headers),
            namespace=namespace,
            function=function,
            method=scope.method,
            path=scope.path,
            query=scope.query_string,
            headers=scope.headers,
            body=body,
            callback=_callback(scope.headers),
            retries=_retries(scope.headers),
        )


class Result(Struct, frozen=True, kw_only=True):
    """What a function answered. headers: names in lower case. seconds: that it took; 0 where nobody knows."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    seconds: float = 0.0

    def header(self, name: str) -> str:
        """Return a header by its name in lower case, "" without it."""
        return next((text for found, text in self.headers if found == name), "")


class Record(Wire, frozen=True):
    """A call as clients are told of it.

    age: seconds since it was accepted. due: when it is tried next, of one that waits. ended: when it was done, died or
    was cancelled. attempts: runs of the function that were begun. status: of the last one, 0 where there was no answer.
    """

    id: str
    namespace: str
    function: str
    state: State
    attempts: int
    age: float
    created: datetime
    status: int = 0
    due: datetime | None = None
    ended: datetime | None = None
    callback: str = ""
    detail: str = ""


def _id(headers: Mapping[str, str]) -> str:
    text = headers[CALL_ID]
    if len(text) > LONGEST_ID or not text.isascii() or not text.isprintable():
        raise _bad(f"X-Call-Id: up to {LONGEST_ID} printable ASCII characters")
    return text


def _callback(headers: Mapping[str, str]) -> str:
    url = headers.get(CALLBACK, "")
    if not url:
        return ""
    if len(url) > LONGEST_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise _bad(f"X-Callback-Url: up to {LONGEST_URL} printable ASCII characters without spaces")
    try:
        Target.of(url)
    except SpecError as error:
        raise _bad(f"X-Callback-Url: {error}") from error
    if "@" in urlsplit(url).netloc:
        raise _bad("X-Callback-Url: without user and password")
    return url


def _retries(headers: Mapping[str, str]) -> int:
    text = headers.get(RETRY_MAX, "").strip()
    if not text:
        return RETRIES
    found = read_whole(text, range(MOST_RETRIES + 1))
    if found is None:
        raise _bad(f"X-Retry-Max: a whole number from 0 to {MOST_RETRIES}, was {text!r}")
    return found


def _bad(detail: str) -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, detail)
