"""What a pod says to others over HTTP: it runs units of a group for them, and does what a controller says.

Whoever means to send many units has the connection go on in frames, by GET /_/groups (`switch`).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front import body, problem
from regrain_watchdog.front.handler import Exchange, Fields, Handler, Scope, Switching
from regrain_watchdog.front.problem import internal
from regrain_watchdog.front.remote import hosting, switch, wire
from regrain_watchdog.front.remote.assignee import ASSIGN, MANIFEST, RELEASE, WATCH, WHY, Assignee
from regrain_watchdog.front.remote.desk import Desk, Terms
from regrain_watchdog.front.remote.guests import Guests
from regrain_watchdog.policy.epochs import LAST

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
        answer: bytes | RequestError | None
        try:
            frame = b""
            if not body.is_empty(scope.headers):
                limit = self._receives(scope)
                frame = await body.read(proto, scope.headers, limit=limit, timeout=self._timeout)
            answer = await self._answer(scope, proto, frame)
        except RequestError as error:
            answer = error
        except Exception:
            logger.exception("a request of another pod failed unexpectedly")
            answer = internal("")
        if answer is not None:
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

    def _signed(self, scope: Scope, frame: bytes) -> tuple[str, int]:
        """Return the version and the epoch that are named; RequestError 401 unless the request is signed."""
        version, epoch = _named(scope.headers)
        wanted = wire.signature(self._secret, scope.method, scope.path, frame, version=version, epoch=epoch)
        _compare(wanted, scope.headers.get(wire.SIGNATURE, ""))
        return version, epoch

    async def _answer(self, scope: Scope, proto: Exchange, frame: bytes) -> bytes | None:
        """Return the answer to a request, None where its connection goes on in frames."""
        if scope.path.startswith(OWN):
            return await self._hosted(scope, frame)
        version, epoch = self._signed(scope, frame)
        if scope.path in TOLD:
            return await self._assignee.answer(scope.method, scope.path, frame)
        self._guests.check(version, epoch)
        return None if self._switch(scope, proto, version) else b""

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
        try:
            version, epoch = self._signed(scope, frame)
            if scope.method != "POST":
                detail = "groups are asked by POST"
                raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"allow": "POST"})
        except RequestError as error:
            return asyncio.get_running_loop().call_soon(told, error).cancel
        return hosting.host(self._guests, version, epoch, frame, told)

    def _switch(self, scope: Scope, proto: Exchange, version: str) -> bool:
        """Have the connection of a request that was found good go on in frames; whether it asks for that, and can."""
        asked = scope.headers.get(switch.NONCE, "")
        wanted = scope.headers.get("upgrade", "").lower() == switch.PROTOCOL
        if not (wanted and switch.is_nonce(asked) and isinstance(proto, Switching)):
            return False
        answered = switch.nonce()
        terms = Terms(
            guests=self._guests,
            version=version,
            key=switch.key(self._secret, version, asked, answered),
            limit=self._limit,
            timeout=self._timeout,
        )
        return proto.switch(switch.PROTOCOL, [(switch.NONCE, answered)], lambda port: Desk(port, terms))


def _named(headers: Mapping[str, str]) -> tuple[str, int]:
    """Return the version and the epoch that a request names; -1 for what is no epoch."""
    epoch = headers.get(wire.EPOCH, "")
    is_number = epoch.isascii() and epoch.isdigit() and len(epoch) <= len(str(LAST))
    return headers.get(wire.VERSION, ""), int(epoch) if is_number else -1


def _compare(wanted: str, shown: str) -> None:
    if not hmac.compare_digest(wanted.encode(), shown.encode()):
        raise RequestError(HTTPStatus.UNAUTHORIZED, "the signature is missing or wrong")


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
