"""Pass requests on to the upstream and its answers back: queued, bounded in time and size, counted.

health, ready   ours; everything else is the upstream's
body            one of up to INLINE bytes is read first, so that a slow sender holds no place
gate            at most `max_inflight` inside, the rest in line until their deadline
upstream        asked once; once more where it cannot have seen the request, or a safe method met a
                connection that was just being closed
answer          its head as soon as it is there, every further piece as it comes
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from http import HTTPStatus
from urllib.parse import unquote_to_bytes

from regrain.errors import RequestError
from regrain.wire.frames import Timing
from regrain_watchdog.front import problem, urgency
from regrain_watchdog.front.call import Call, Span
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.http import CALL_ID
from regrain_watchdog.front.measure import CANCELLED, Measure
from regrain_watchdog.front.pages import DRAINING
from regrain_watchdog.front.trace_context import TRACEPARENT, TRACESTATE, keep_valid
from regrain_watchdog.front.upstream import heads
from regrain_watchdog.front.upstream.checks import Checks
from regrain_watchdog.front.upstream.client import Connection, UpstreamError
from regrain_watchdog.front.upstream.exchange import Exchange, Request
from regrain_watchdog.front.upstream.gate import RETRY_AFTER, Gate
from regrain_watchdog.front.upstream.passage import GROUP, Outgoing, Passage, too_large, too_slow
from regrain_watchdog.front.upstream.upstream import Upstream

logger = logging.getLogger(__name__)

INLINE = 1 << 16
"""Bytes up to which a body is read whole before it is passed on, so that it has a length and can be sent again."""
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""
INTERNAL = ("x-openfaas-internal", "regrain")
"""Marks an error that infrastructure made and not the function; OpenFaaS' queue worker retries those."""
URGENCY = (urgency.TIMEOUT, urgency.REMAINING, urgency.PRIORITY)
TRACE = (TRACEPARENT, TRACESTATE)
NEVER = float("inf")


class Proxy:
    """Answers the requests of one upstream.

    Args:
        upstream: where they go.
        measure: what counts them.
        config: limits and timeouts.

    Attributes:
        draining: set once the server is to stop; health and readiness say no from then on, calls are served.
    """

    def __init__(self, upstream: Upstream, measure: Measure, config: Config) -> None:
        self.draining = False
        self.gate = Gate(config.max_inflight, config.max_queue)
        self._checks = Checks(config, records=measure.traces is not None)
        self._upstream = upstream
        self._measure = measure
        self._config = config
        self._prefix = upstream.address.prefix.encode()
        self._ids = map(f"{os.urandom(8).hex()}{{:08x}}".format, itertools.count())

    async def __call__(self, exchange: Exchange) -> None:
        """Answer one request."""
        path = exchange.request.target.partition(b"?")[0]
        if path in (b"/_/health", b"/_/ready"):
            await self._tell(exchange, path)
        else:
            await self._serve(exchange)

    async def _tell(self, exchange: Exchange, path: bytes) -> None:
        if exchange.request.method not in ("GET", "HEAD"):
            detail = f"{path.decode()} takes GET and HEAD"
            error = RequestError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": "GET, HEAD"})
            _refuse(exchange, error, next(self._ids), 0.0)
            return
        trouble = DRAINING if self.draining else ""
        if not trouble and path == b"/_/ready":
            trouble = await self._upstream.unready()
        fields = [("content-type", "text/plain; charset=utf-8")]
        exchange.respond(503 if trouble else 200, fields, (trouble or "OK").encode())

    async def _serve(self, exchange: Exchange) -> None:
        """Pass a request on and count it; the one place where errors become answers."""
        call = Call(id=next(self._ids), values={}, headers=b"", arrived=time.monotonic())
        status = CANCELLED
        self._measure.arrived()
        try:
            status = await self._answer(call, exchange)
        except RequestError as error:
            status = error.status.value
            self._fail(exchange, error, call)
        except (ConnectionError, asyncio.CancelledError):
            logger.debug("the caller went away", extra={"call_id": call.id})
            raise
        except Exception:
            logger.exception("a request failed unexpectedly", extra={"call_id": call.id})
            status = 500
            self._fail(exchange, problem.internal(call.id), call)
        finally:
            now = time.monotonic()
            seconds = now - call.arrived
            self._measure.finished(
                call, method=exchange.request.method, status=status, seconds=seconds, now=now
            )
            self._checks.log(call, exchange, status, seconds)

    def _fail(self, exchange: Exchange, error: RequestError, call: Call) -> None:
        if exchange.begun:
            logger.warning("an answer was broken off: %s", error.detail, extra={"call_id": call.id})
            exchange.abort()
        else:
            _refuse(exchange, error, call.id, time.monotonic() - call.arrived)

    async def _answer(self, call: Call, exchange: Exchange) -> int:
        request = exchange.request
        self._checks.admit(request)
        self._trace(call, request)
        if wanted := request.field(b"x-call-id"):
            if not CALL_ID.fullmatch(wanted):
                detail = "X-Call-Id must be 1 to 128 letters, digits or any of . _ ~ : + / = @ -"
                raise RequestError(HTTPStatus.BAD_REQUEST, detail)
            call.id = wanted
        if request.method == "CONNECT":
            detail = "CONNECT is for proxies of connections"
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": "GET, HEAD, POST"})
        told = {name: text for name in URGENCY if (text := request.field(name.encode()))}
        urgency.admit(call, told, self._config.exec_timeout)
        first = await self._first(exchange)
        whole = request.body.taken
        head = heads.request_head(request, self._prefix, call.id.encode(), len(first) if whole else None)
        await self._enter(call)
        try:
            return await self._pass_on(call, exchange, Outgoing(head=head, first=first, whole=whole))
        finally:
            self.gate.leave()

    def _trace(self, call: Call, request: Request) -> None:
        """Begin the span of a request, if that is asked for, and have its fields name it."""
        traces = self._measure.traces
        if traces is None:
            return
        found = {name: text for name in TRACE if (text := request.field(name.encode()))}
        keep_valid(found)
        path = unquote_to_bytes(request.target.partition(b"?")[0]).decode(errors="replace")
        traces.begin_http(call, found, request.method, path)
        others = [field for field in request.fields if field[0].lower().decode("latin-1") not in TRACE]
        request.fields = others + [(name.encode(), text.encode("latin-1")) for name, text in found.items()]

    async def _first(self, exchange: Exchange) -> bytes:
        """Return a small body whole, of a large one nothing, of one of unknown length the first INLINE bytes."""
        request, limit = exchange.request, self._config.max_body
        if request.length is not None and request.length > limit:
            raise too_large(limit)
        if request.body.taken:
            return b""
        if request.body.ended:
            first = request.body.take()
        elif request.length is not None and request.length > INLINE:
            return b""
        else:
            first = await self._read(exchange)
        if len(first) > limit:
            raise too_large(limit)
        return first

    async def _read(self, exchange: Exchange) -> bytes:
        """Return the body, or its first INLINE bytes and what came with them; 408 if it takes too long."""
        pieces = bytearray()
        try:
            async with asyncio.timeout(self._config.body_timeout):
                while len(pieces) <= INLINE and (data := await exchange.read()):
                    pieces += data
        except TimeoutError as error:
            raise too_slow(self._config.body_timeout) from error
        return bytes(pieces)

    async def _enter(self, call: Call) -> None:
        """Take a place at the upstream."""
        if self._upstream.down:
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, self._upstream.down, headers=RETRY_AFTER)
        before = time.monotonic()
        await self.gate.enter(call.deadline or NEVER, before, call.priority)
        waited = time.monotonic() - before
        call.spans.append(Span(group=GROUP, stage="", seconds=waited, kind="wait"))
        self._measure.dispatched(GROUP, 1, waited)

    async def _pass_on(self, call: Call, exchange: Exchange, outgoing: Outgoing) -> int:
        before = time.monotonic()
        passage: Passage | None = None
        try:
            async with asyncio.timeout(_remaining(call)):
                passage = await self._ask(exchange, outgoing)
            return await passage.back(call, self._config.exec_timeout)
        except TimeoutError as error:
            detail = f"the upstream gave no answer within {call.deadline - call.arrived:g} s"
            raise RequestError(HTTPStatus.GATEWAY_TIMEOUT, detail, stage=GROUP) from error
        except UpstreamError as error:
            raise RequestError(HTTPStatus.BAD_GATEWAY, str(error), stage=GROUP) from error
        finally:
            if passage is not None:
                passage.close(self._upstream.pool)
            seconds = time.monotonic() - before
            call.spans.append(Span(group=GROUP, stage=GROUP, seconds=seconds))
            self._measure.ran(GROUP, 0.0, [Timing(GROUP, seconds, 1, 1)])

    async def _ask(self, exchange: Exchange, outgoing: Outgoing) -> Passage:
        """Send the request and return once the answer's head is there; try once more where that is safe."""
        again = outgoing.whole and exchange.request.method in IDEMPOTENT
        while True:
            passage = Passage(exchange, await self._connect(), self._config)
            try:
                await passage.there(outgoing)
            except UpstreamError as error:
                passage.close(self._upstream.pool)
                if not (again and error.stale):
                    raise
                again = False
                self._measure.retried(GROUP)
            except BaseException:
                passage.close(self._upstream.pool)
                raise
            else:
                return passage

    async def _connect(self) -> Connection:
        """Return a connection; one more try where none is accepted, as nothing was sent."""
        try:
            return await self._upstream.pool.take()
        except UpstreamError:
            self._measure.retried(GROUP)
            return await self._upstream.pool.take()


def _remaining(call: Call) -> float | None:
    return max(0.0, call.deadline - time.monotonic()) if call.deadline else None


def _refuse(exchange: Exchange, error: RequestError, call_id: str, seconds: float) -> None:
    fields = [("content-type", problem.MEDIA_TYPE), ("x-call-id", call_id), INTERNAL]
    fields.append(("x-duration-seconds", f"{seconds:.6f}"))
    fields.extend(
        (name.lower(), text) for name, text in error.headers.items() if name.lower() != "connection"
    )
    exchange.respond(error.status.value, fields, problem.problem(error, call_id))
