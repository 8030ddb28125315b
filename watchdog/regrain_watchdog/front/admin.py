"""The pages of operators: Prometheus' metrics, and the admin API.

Who may ask the admin API is up to its door (`door.py`).

    GET /                  the live page, for browsers
    GET /events            what it shows, as server-sent events
    GET /picture.svg       the app's stages in the groups of now
    GET /status            what the app is and how it does
    GET /manifest          the app as JSON
    GET /slow?limit=20     the last misses, newest first
    GET /slow/CALL_ID      one of them
    GET /why               why this plan rules, where plans are adapted
    POST ...               what changes something (operations.py)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from regrain.errors import RequestError, SpecError
from regrain.manifest import Manifest, dumps
from regrain_watchdog.front import problem
from regrain_watchdog.front.call import Span
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import BASIC, BEARER, Key
from regrain_watchdog.front.door import READING, Door
from regrain_watchdog.front.events import Events
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.listen import Listener
from regrain_watchdog.front.measure import MISSES_KEPT, Measure, Miss
from regrain_watchdog.front.operations import Operations
from regrain_watchdog.front.page import PICTURE, Content, Page
from regrain_watchdog.front.page.snapshot import snapshot

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
LIMIT = 20
"""Misses told where the caller does not say how many."""
FIXED = "; an upstream has no plan to change"
MISSES_SHOWN = 8
"""Misses on the live page."""
EVENTS = "/events"
ATTAINMENT = 0.95
"""The share of requests meant to hit where only a latency was set."""
_JSON = [("content-type", "application/json")]
_encode = msgspec.json.Encoder().encode


class Told(Struct, frozen=True, kw_only=True):
    """A miss as the API tells it: `at` in unix seconds, `slo` the latency objective in seconds."""

    call_id: str
    at: float
    reason: str
    status: int
    seconds: float
    slo: float | None
    spans: tuple[Span, ...]


class Admin:
    """The admin API over RSGI.

    Args:
        manifest: the app.
        measure: where the misses are.
        status: what GET /status tells.
        host, key: who may ask, as for Door.
        operations: what may be changed; None where nothing may.
        why: tells why the plan in force rules; None where only operators change it.

    Attributes:
        manifest: the app, as it is served now.
    """

    def __init__(
        self,
        manifest: Manifest,
        measure: Measure,
        status: Callable[[], dict[str, object]],
        *,
        host: str = LOOPBACK,
        key: Key | None = None,
        operations: Operations | None = None,
        why: Callable[[], bytes | None] = lambda: None,
    ) -> None:
        self._why = why
        self._door = Door(host=host, key=key)
        self._operations = operations
        self.manifest = manifest
        self._measure = measure
        self._status = status
        self._files = Page()
        self._events = Events(self._snapshot)

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        try:
            self._door.check(scope)
            if scope.method == "POST" and self._operations is not None:
                proto.response_bytes(200, _JSON, await self._operations.answer(scope, proto))
                return
            if scope.method not in READING:
                raise _not_allowed(scope, FIXED if scope.method == "POST" else "")
            if scope.path == EVENTS:
                await self._events.serve(proto)
                return
            headers, page = self._find(scope.path) or (_JSON, self._page(scope.path, scope.query_string))
        except RequestError as error:
            _refuse(proto, error)
            return
        proto.response_bytes(200, headers, page)

    def stop(self) -> None:
        """End the events of those who look at the live page, which would hold up the listener's end."""
        self._events.stop()

    def _find(self, path: str) -> Content | None:
        if path == PICTURE:
            return self._files.picture(self.manifest, str(self._status().get("grain", self.manifest.grain)))
        return self._files.find(path)

    def _snapshot(self) -> bytes:
        latest = [self._told(miss) for miss in list(self._measure.misses)[-MISSES_SHOWN:][::-1]]
        return snapshot(self._status(), self._measure, latest, now=time.monotonic(), wall=time.time())

    def _page(self, path: str, query: str) -> bytes:
        if path == "/status":
            return _encode(self._status())
        if path == "/manifest":
            return dumps(self.manifest)
        if path == "/why":
            return self._reasons()
        if path == "/slow":
            latest = list(reversed(self._measure.misses))[: _limit(query)]
            return _encode([self._told(miss) for miss in latest])
        if path.startswith("/slow/"):
            call = path.removeprefix("/slow/")
            miss = self._measure.miss(call)
            if miss is None:
                raise RequestError(
                    HTTPStatus.NOT_FOUND,
                    f"no miss of call id {call!r} is known; the last {MISSES_KEPT} misses are kept",
                )
            return _encode(self._told(miss))
        raise RequestError(
            HTTPStatus.NOT_FOUND,
            f"there is no {path}; there are /, /events, /picture.svg, /status, /manifest, /slow, /slow/CALL_ID "
            "and /why",
        )

    def _reasons(self) -> bytes:
        told = self._why()
        if told is None:
            others = "`regrain run --adapt` would, or `regrain controller --adapt`"
            raise RequestError(HTTPStatus.NOT_FOUND, f"nobody but operators changes the plan; {others}")
        return told

    def _told(self, miss: Miss) -> Told:
        return Told(
            call_id=miss.call,
            at=time.time() - (time.monotonic() - miss.ended),
            reason=miss.reason,
            status=miss.status,
            seconds=miss.seconds,
            slo=self._measure.latency,
            spans=miss.spans,
        )


class MetricsPage:
    """GET /metrics over RSGI, in Prometheus' text format.

    Args:
        measure: what it tells.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        if scope.path != "/metrics":
            _refuse(proto, RequestError(HTTPStatus.NOT_FOUND, f"there is no {scope.path}; there is /metrics"))
        elif scope.method not in ("GET", "HEAD"):
            _refuse(proto, _not_allowed(scope))
        else:
            content_type, page = self._measure.page()
            proto.response_bytes(200, [("content-type", content_type)], page)


async def open_metrics(measure: Measure, config: Config) -> Listener:
    """Open the metrics' port; any free one if the usual one is taken and nobody asked for it."""
    page = MetricsPage(measure)
    listener = Listener(page, config.host, config.metrics_port, name="metrics_port")
    try:
        await listener.start()
    except SpecError:
        if config.metrics_port != Config.DEFAULT_METRICS_PORT:
            raise  # somebody asked for this port
        listener = Listener(page, config.host, 0, name="metrics_port")
        await listener.start()
        logger.warning("port %d is taken: metrics are at %s", config.metrics_port, listener.url)
    return listener


async def open_admin(
    manifest: Manifest,
    measure: Measure,
    status: Callable[[], dict[str, object]],
    config: Config,
    operations: Operations | None = None,
    *,
    why: Callable[[], bytes | None] = lambda: None,
) -> tuple[Admin, Listener]:
    """Open the admin's port; SpecError if the address or the key's file cannot be had."""
    key = Key.load(config.admin_key_file, "admin_key_file", (BASIC, BEARER))
    admin = Admin(
        manifest,
        measure,
        status,
        host=config.admin_host,
        key=key,
        operations=operations,
        why=why,
    )
    listener = Listener(admin, config.admin_host, config.admin_port, name="admin_port")
    await listener.start()
    return admin, listener


def _limit(query: str) -> int:
    text = parse_qs(query).get("limit", [str(LIMIT)])[0]
    if not (text.isdecimal() and len(text) <= len(str(MISSES_KEPT)) and 1 <= int(text) <= MISSES_KEPT):
        raise RequestError(HTTPStatus.BAD_REQUEST, f"limit was {text[:40]!r}, allowed are 1 to {MISSES_KEPT}")
    return int(text)


def _not_allowed(scope: Scope, why: str = "") -> RequestError:
    return RequestError(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{scope.path} does not take {scope.method}, allowed are GET, HEAD{why}",
        headers={"allow": "GET, HEAD"},
    )


def _refuse(proto: Exchange, error: RequestError) -> None:
    headers = [("content-type", problem.MEDIA_TYPE), *error.headers.items()]
    proto.response_bytes(error.status.value, headers, problem.problem(error, ""))
