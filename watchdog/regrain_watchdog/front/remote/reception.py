"""What a pod does for others: POST /_/groups/GROUP runs units of a group in its own queues and replicas.

A pod of any plan serves any group: its own plan's function where the caller's grain is the one in force, or still ends
its calls; else a plan of the caller's grain over the replicas that live (docs/decisions/0009), which ends once nobody
has come for a while.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

from regrain.errors import GrainError, RequestError
from regrain.plan import Step
from regrain.wire import frames
from regrain.wire.frames import FrameError
from regrain_watchdog.front import body, problem
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.handler import Exchange, Fields, Handler, Scope
from regrain_watchdog.front.problem import internal
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.assignee import ASSIGN, MANIFEST, RELEASE, WATCH, WHY, Assignee
from regrain_watchdog.front.remote.guests import Guests
from regrain_watchdog.front.remote.visit import Visit
from regrain_watchdog.front.service import App

logger = logging.getLogger(__name__)

OWN = f"{wire.PREFIX}/"
TOLD = frozenset((ASSIGN, RELEASE, MANIFEST, WATCH, WHY))
"""What a controller asks for, or tells."""
SMALL = 1 << 20
"""Bytes that it may say at most."""
OK = HTTPStatus.OK.value
ANSWER: Fields = [("content-type", wire.MEDIA_TYPE)]


class Reception:
    """Answers other pods, and hands everything else on.

    Args:
        inner: what answers everybody else.
        guests: finds who runs a group. assignee: does what a controller says.
        secret: what requests must be signed with.
        limit: bytes of a frame at most. timeout: seconds in which it must arrive.
    """

    def __init__(
        self, inner: Handler, guests: Guests, assignee: Assignee, *, secret: str, limit: int, timeout: float
    ) -> None:
        self._inner = inner
        self._guests = guests
        self._assignee = assignee
        self._secret = secret
        self._limit = limit
        self._timeout = timeout

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        path = scope.path
        if path not in TOLD and path != wire.PREFIX and not path.startswith(OWN):
            await self._inner.__rsgi__(scope, proto)
            return
        answer: bytes | RequestError
        try:
            frame = b""
            if not body.is_empty(scope.headers):
                limit = self._receives(scope)
                frame = await body.read(proto, scope.headers, limit=limit, timeout=self._timeout)
            answer = await self._answer(scope, frame)
        except RequestError as error:
            answer = error
        except Exception:
            logger.exception("a request of another pod failed unexpectedly")
            answer = internal("")
        _say(proto, answer)

    def at_once(self, scope: Scope, proto: Exchange, ended: Callable[[], None]) -> Callable[[], None] | None:
        """Begin with units of a group whose frame is all here; as `handler.Prompt`."""
        if not self._is_frame(scope):
            return None

        def told(answer: bytes | RequestError) -> None:
            _say(proto, answer)
            ended()

        return self._host(scope, proto.arrived() or b"", told)

    def patience(self, scope: Scope) -> float:
        """Return the seconds that a frame may take to be here, if it may be received; as `handler.Prompt`."""
        if not self._is_frame(scope):
            return 0.0
        try:
            self._receives(scope)
        except RequestError:  # by a task, so that it is told
            return 0.0
        return self._timeout

    def _is_frame(self, scope: Scope) -> bool:
        """Whether a request is one of units, by its head."""
        if scope.method != "POST" or not scope.path.startswith(OWN):
            return False
        return 0 < int(scope.headers.get("content-length", "0")) <= self._limit

    def _receives(self, scope: Scope) -> int:
        """Return the bytes of a body that are received before all of it can be checked.

        RequestError 401 if it has more than strangers may send, and its sender has not signed how many.
        """
        limit = SMALL if scope.path in TOLD else self._limit
        length = scope.headers.get("content-length")
        if length is None or int(length) <= wire.UNPROVEN:
            return min(limit, wire.UNPROVEN)
        version, epoch = _named(scope.headers)
        wanted = wire.opening(
            self._secret, scope.method, scope.path, int(length), version=version, epoch=epoch
        )
        _compare(wanted, scope.headers.get(wire.OPENING, ""))
        return limit

    def _check(self, scope: Scope, frame: bytes) -> str:
        """Return the version that is asked for.

        RequestError 401 unless the request is signed, 409 if it is of another version, 503 where nobody serves.
        """
        version, epoch = _named(scope.headers)
        wanted = wire.signature(self._secret, scope.method, scope.path, frame, version=version, epoch=epoch)
        _compare(wanted, scope.headers.get(wire.SIGNATURE, ""))
        if scope.path not in TOLD:
            self._guests.check(version, epoch)
        return version

    async def _answer(self, scope: Scope, frame: bytes) -> bytes:
        if scope.path.startswith(OWN):
            return await self._hosted(scope, frame)
        self._check(scope, frame)
        if scope.path in TOLD:
            return await self._assignee.answer(scope.method, scope.path, frame)
        return b""

    async def _hosted(self, scope: Scope, frame: bytes) -> bytes:
        """Return what became of the units of a frame."""
        done: asyncio.Future[bytes | RequestError] = asyncio.get_running_loop().create_future()
        give_up = self._host(scope, frame, lambda answer: None if done.done() else done.set_result(answer))
        try:
            answer = await done
        except asyncio.CancelledError:
            give_up()
            raise
        if isinstance(answer, RequestError):
            raise answer
        return answer

    def _host(
        self, scope: Scope, frame: bytes, told: Callable[[bytes | RequestError], None]
    ) -> Callable[[], None]:
        """Run the units of a frame, and have `told` called in a later turn; return what gives them up."""
        answer: bytes | RequestError
        try:
            version = self._check(scope, frame)
            if scope.method != "POST":
                raise RequestError(
                    HTTPStatus.METHOD_NOT_ALLOWED, "groups are asked by POST", headers={"allow": "POST"}
                )
            ask, tail = wire.opened(frame, wire.Ask)
            app, place = self._guests.find(version, ask.grain, ask.group)
            if ask.units:
                visits = _visits(app, place, ask, tail)
                return app.host(visits, lambda errors: told(_told(app, place, visits, errors)))
            answer = wire.Loading(app.crew.pool).sealed(wire.Told([], []))
        except (FrameError, GrainError) as error:
            answer = RequestError(HTTPStatus.BAD_REQUEST, str(error))
        except RequestError as error:
            answer = error
        except Exception:
            logger.exception("a request of another pod failed unexpectedly")
            answer = internal("")
        return asyncio.get_running_loop().call_soon(told, answer).cancel


def _named(headers: Mapping[str, str]) -> tuple[str, int]:
    """Return the version and the epoch that a request names; -1 for what is no epoch."""
    epoch = headers.get(wire.EPOCH, "")
    is_number = epoch.isascii() and epoch.isdigit() and len(epoch) < 16
    return headers.get(wire.VERSION, ""), int(epoch) if is_number else -1


def _compare(wanted: str, shown: str) -> None:
    if not hmac.compare_digest(wanted.encode(), shown.encode()):
        raise RequestError(HTTPStatus.UNAUTHORIZED, "the signature is missing or wrong")


def _visits(app: App, place: int, ask: wire.Ask, tail: memoryview) -> list[Visit]:
    """Return the units as flights of an app, their values in its memory; RequestError (400) if they are none."""
    now, step = time.monotonic(), app.route.steps[place]
    landing = wire.Landing(app.crew.pool, tail)
    try:
        given = [_given(guest, step, landing) for guest in ask.units]
    except FrameError as error:
        landing.forget()
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
    landing.commit()
    return [
        Visit(app.route, _call(guest, now), place=place, given=values)
        for guest, values in zip(ask.units, given, strict=True)
    ]


def _given(guest: wire.Guest, step: Step, landing: wire.Landing) -> list[frames.Parts]:
    if len(guest.values) != len(step.inputs):
        raise FrameError(f"{len(guest.values)} inputs where {len(step.inputs)} are taken")
    if not all(parts.split or len(parts.values) == 1 for parts in guest.values):
        raise FrameError("an input that is not one value")
    return [landing.parts(parts) for parts in guest.values]


def _call(guest: wire.Guest, now: float) -> Call:
    """Return a unit as a call that arrived when its request did, on this machine's clock."""
    has_deadline = guest.budget > 0.0
    return Call(
        id=guest.call,
        values={},
        headers=guest.headers,
        arrived=now + guest.left - guest.budget if has_deadline else now,
        deadline=now + guest.left if has_deadline else 0.0,
        firm=guest.firm,
        priority=guest.priority,
    )


def _told(app: App, place: int, visits: Sequence[Visit], errors: Sequence[object]) -> bytes | RequestError:
    """Return the answer to a frame: what its units gave, and what it cost."""
    try:
        loading = wire.Loading(app.crew.pool)
        outcomes = [
            wire.mapped(visit.outcome(), loading.parts, loading.value) if error is None else _fault(error)
            for visit, error in zip(visits, errors, strict=True)
        ]
        return loading.sealed(wire.Told(outcomes, _timings(app.route.steps[place], visits)))
    except Exception:
        logger.exception("a request of another pod failed unexpectedly")
        return internal("")


def _fault(error: object) -> frames.Fault:
    if isinstance(error, RequestError):
        return frames.Fault(int(error.status), error.stage, error.detail)
    return frames.Fault(HTTPStatus.INTERNAL_SERVER_ERROR, "", "it was cut off")


def _timings(step: Step, visits: Sequence[Visit]) -> list[frames.Timing]:
    """Return what stages took; units that ran together have their spans in common."""
    leased = 0.0
    known: set[int] = set()
    sums = dict.fromkeys(step.stages, (0.0, 0, 0))
    for visit in visits:
        for span in visit.call.spans:
            is_new = id(span) not in known
            known.add(id(span))
            if span.kind == "lease" and is_new:
                leased += span.seconds
            elif span.kind == "service" and (
                is_new or span.batch == 1
            ):  # one of a batch of 1 is each unit's own
                seconds, count, calls = sums[span.stage]
                sums[span.stage] = seconds + span.seconds, count + span.batch, calls + 1
    timings = []
    for stage, (seconds, count, calls) in sums.items():
        if calls:
            timings.append(frames.Timing(stage, seconds, count, calls, leased))
            leased = 0.0
    return timings


def _say(proto: Exchange, answer: bytes | RequestError) -> None:
    if isinstance(answer, RequestError):
        headers: Mapping[str, str] = answer.headers
        fields = [
            ("content-type", problem.MEDIA_TYPE),
            *((name.lower(), text) for name, text in headers.items()),
        ]
        proto.response_bytes(answer.status.value, fields, problem.problem(answer, ""))
    else:
        proto.response_bytes(OK, ANSWER, answer)
