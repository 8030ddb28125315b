"""The part of the admin API that changes something.

    POST /grain     {"grain": "decode+detect | crop", "replicas": "crop=2"}    another grain; "hold": true keeps it
    POST /auto                                                                 leave the grain to the controller again
    POST /resident  {"stages": "all"}                                          what replicas keep loaded
    POST /scale     {"group": "crop", "replicas": 3}                           more or fewer replicas
    POST /update                                                               the code as it is on disk now
    POST /rollback                                                             the version before

Each answers once the route has swapped (200, the change) or says why the old plan stays: 400 for what is none of this
app's, 409 while another operator's change is under way or where the new plan did not become ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus

import msgspec
from msgspec import Struct

from regrain.errors import LoadError, RequestError, SpecError
from regrain_watchdog.front import body
from regrain_watchdog.front.changes import Changes
from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.front.live import Change
from regrain_watchdog.front.reply import shutting_down

MAX_BODY = 1 << 16
BODY_TIMEOUT = 10.0


class Regrain(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /grain takes."""

    grain: str
    replicas: str = ""
    hold: bool = False


class Keep(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /resident takes: "plan", "all", or stages such as "detect,recognise"."""

    stages: str


class Kept(Struct, frozen=True):
    """What POST /resident answers: what replicas keep loaded now, and the bytes that they gave back for it."""

    resident: str
    freed: int


class Held(Struct, frozen=True):
    """What POST /auto answers: whether only operators may change the grain, and whether a controller runs that does."""

    held: bool
    controller: bool


class Scale(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /scale takes."""

    group: str
    replicas: int


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """What POST /auto, POST /update and POST /rollback take."""


Told = Change | Kept | Held


class Operations:
    """Carries out what operators ask for.

    is_adapted: whether a controller is kept running, which changes the grain too.
    """

    def __init__(self, changes: Changes, *, is_adapted: bool = False) -> None:
        self._changes = changes
        self._is_adapted = is_adapted
        self._paths: dict[str, Callable[[bytes], Coroutine[None, None, Told]]] = {
            "/grain": self._grain,
            "/auto": self._auto,
            "/resident": self._resident,
            "/scale": self._scale,
            "/update": self._update,
            "/rollback": self._rollback,
        }

    async def answer(self, scope: Scope, proto: Exchange) -> bytes:
        """Return what came of it as JSON; RequestError says why there is none."""
        operation = self._paths.get(scope.path)
        if operation is None:
            raise RequestError(
                HTTPStatus.NOT_FOUND, f"there is no POST {scope.path}; there are {', '.join(self._paths)}"
            )
        headers = dict(scope.headers.items())
        sent = await body.read(proto, headers, limit=MAX_BODY, timeout=BODY_TIMEOUT, is_set=False)
        try:
            told = await _whole(operation(sent or b"{}"))
        except (SpecError, msgspec.MsgspecError) as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except LoadError as error:
            raise RequestError(HTTPStatus.CONFLICT, f"the old version stays: {error}") from error
        return msgspec.json.encode(told)

    async def _grain(self, sent: bytes) -> Change:
        wanted = msgspec.json.decode(sent, type=Regrain)
        return await self._changes.regrain(wanted.grain, wanted.replicas, hold=wanted.hold)

    async def _auto(self, sent: bytes) -> Held:
        msgspec.json.decode(sent, type=Nothing)
        self._changes.free()
        return Held(held=False, controller=self._is_adapted or self._changes.is_assigned)

    async def _resident(self, sent: bytes) -> Kept:
        wanted = msgspec.json.decode(sent, type=Keep)
        freed = await self._changes.keep(wanted.stages)
        return Kept(resident=wanted.stages, freed=freed)

    async def _scale(self, sent: bytes) -> Change:
        wanted = msgspec.json.decode(sent, type=Scale)
        return await self._changes.scale(wanted.group, wanted.replicas)

    async def _update(self, sent: bytes) -> Change:
        msgspec.json.decode(sent, type=Nothing)
        return await self._changes.update()

    async def _rollback(self, sent: bytes) -> Change:
        msgspec.json.decode(sent, type=Nothing)
        return await self._changes.roll_back()


async def _whole(operation: Coroutine[None, None, Told]) -> Told:
    """Carry an operation out to its end, even if who asked for it goes away; only the app's end gives it up."""
    task = asyncio.ensure_future(operation)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise shutting_down() from None
        raise
