"""Signed requests to another pod, over connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

from regrain_watchdog.front.http1.exchange import COPIED
from regrain_watchdog.front.remote import switch, wire
from regrain_watchdog.front.remote.channel import Channel
from regrain_watchdog.front.remote.connection import Answer, Connection, Outcome
from regrain_watchdog.front.upstream.client import Kept, Pool, UpstreamError
from regrain_watchdog.front.upstream.upstream import Address

REFUSALS = frozenset((HTTPStatus.UNAUTHORIZED, HTTPStatus.CONFLICT))
"""Answers by which a pod says that it runs nothing for us: another secret, another version or epoch."""
NOT_NOW = frozenset((HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE))
"""Answers of one that starts or stops, or of what stands before it."""

SWITCH = 2.0
"""Seconds that a pod has to answer whether it goes on in frames."""
PLAIN = 10.0
"""Seconds for which one that does not is not asked for it again."""

SAFE = "/+"
"""Characters of a path that are not escaped: a group is named by its stages with + between."""


class PodError(Exception):
    """A pod did not do what it was asked to.

    Attributes:
        ran: whether it may have run any of it.
        gone: whether there is nobody to be asked again before a trial succeeds.
        refused: whether it answered that it will do nothing for us.
        timed_out: whether it took too long.
        too_large: whether it answered, and with more than is taken.
    """

    def __init__(
        self,
        detail: str,
        *,
        ran: bool,
        gone: bool,
        refused: bool = False,
        timed_out: bool = False,
        too_large: bool = False,
    ) -> None:
        super().__init__(detail)
        self.refused = refused
        self.ran = ran
        self.gone = gone
        self.timed_out = timed_out
        self.too_large = too_large


@dataclass(slots=True)
class Request:
    """What a pod is asked. is_frame: whether it may go over a channel, which names neither method nor path."""

    method: str
    path: str
    body: Sequence[bytes | memoryview]
    epoch: int
    is_frame: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which a pod is asked.

    secret: what requests are signed with. version: of the app, by its digest. limit: bytes of a frame at most.
    """

    secret: str = field(repr=False)
    version: str
    epoch: Callable[[], int]
    limit: int


Told = Callable[["bytes | memoryview | PodError"], None]
"""Is called once with what is answered, or with why nothing good is; what is no bytes is good until it returns."""


class Line:
    """Asks the pod at a URL.

    Attributes:
        limit: bytes that an answer may have.
        pool: the connections that speak HTTP.
        channels: those that speak frames.
        switching: those that are asked to speak frames from now on, and what ends that when it takes too long.
    """

    def __init__(self, url: str, terms: Terms) -> None:
        self.limit = terms.limit
        self._terms = terms
        self._address = Address.parse(url)
        self.pool = Pool(Connection, self._address.host, self._address.port)
        self.channels: Kept[Channel] = Kept()
        self._due: dict[Errand, float] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False
        self._starts: dict[tuple[str, str], str] = {}
        self._plain_until = 0.0
        self._has_switched = False
        self.switching: dict[Connection, asyncio.TimerHandle] = {}

    def close(self) -> None:
        """Close the connections that are kept."""
        self._closed = True
        self.pool.close()
        self.channels.close()
        for connection, late in self.switching.items():
            late.cancel()
            connection.close()
        self.switching.clear()
        self._disarm()

    def watch(self, errand: Errand, timeout: float) -> None:
        """Tell an errand after so many seconds that it is late.

        One timer serves all: it goes off when the first is due of those that it was set for, most of which have ended.
        """
        loop = asyncio.get_running_loop()
        due = self._due[errand] = loop.time() + timeout
        if self._alarm is None or due < self._alarm.when():
            self._set(loop, due)

    def forget(self, errand: Errand) -> None:
        """An errand has ended."""
        self._due.pop(errand, None)
        self._disarm()

    def _set(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = loop.call_at(due, self._look)

    def _disarm(self) -> None:
        """Set no timer for what comes, if nothing comes any more."""
        if self._closed and self._alarm is not None and not self._due:
            self._alarm.cancel()
            self._alarm = None

    def _look(self) -> None:
        self._alarm = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        try:
            for errand in [errand for errand, due in self._due.items() if due <= now]:
                if errand in self._due:  # another one that was late may have ended it
                    errand.late()
        finally:  # where one fails, the others are due still
            if self._due:
                self._set(loop, min(self._due.values()))

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, timeout: float, twice: bool = False
    ) -> bytes:
        """Return what is answered over HTTP within so many seconds; PodError if nothing good is.

        twice: as for `send`.
        """
        done: asyncio.Future[bytes | PodError] = asyncio.get_running_loop().create_future()

        def told(outcome: bytes | memoryview | PodError) -> None:
            if not done.done():
                done.set_result(bytes(outcome) if isinstance(outcome, memoryview) else outcome)

        errand = Errand(self, Request(method, path, [body], self._terms.epoch()), told, twice=twice)
        errand.start(timeout)
        try:
            outcome = await done
        finally:
            errand.cancel()
        if isinstance(outcome, PodError):
            raise outcome
        return outcome

    def send(
        self, path: str, frame: Sequence[bytes | memoryview], told: Told, *, timeout: float, twice: bool
    ) -> Errand:
        """Post a frame, in pieces that stay as they are until `told` is called, in a later turn of the loop.

        timeout: seconds after which it is not waited for any more.
        twice: whether the same may be asked twice, so that a kept connection which has ended proves nothing.
        """
        request = Request("POST", path, frame, self._terms.epoch(), is_frame=True)
        errand = Errand(self, request, told, twice=twice)
        errand.start(timeout)
        return errand

    def kept(self, request: Request) -> Connection | Channel | None:
        """Return a connection that is kept for such requests; None without any."""
        return (self.channels.kept() if request.is_frame else None) or self.pool.kept()

    def give(self, connection: Connection | Channel, request: Request) -> None:
        """Keep a connection whose answer to a request was taken; after its first frame it is to go on in frames."""
        if isinstance(connection, Channel):
            self.channels.give(connection)
        elif request.is_frame and connection.reusable and self._switches():
            self._switch(connection)
        else:
            self.pool.give(connection)

    def post(
        self, request: Request, connection: Connection | Channel, told: Callable[[Outcome], None]
    ) -> None:
        """Send a request over a connection."""
        if isinstance(connection, Channel):
            connection.ask(request.epoch, request.body, self.limit, told)
            return
        nbytes = sum(map(len, request.body))
        head = self._head(request, nbytes)
        pieces = (head, *request.body) if nbytes > COPIED else (b"".join((head, *request.body)),)
        connection.ask(pieces, self.limit, told)

    def _switches(self) -> bool:
        """Whether a connection may go on in frames: one alone is tried until the pod has shown that it knows how."""
        is_plain = asyncio.get_running_loop().time() < self._plain_until
        return not self._closed and not is_plain and (self._has_switched or not self.switching)

    def _switch(self, connection: Connection) -> None:
        """Ask for a connection that nobody uses to go on in frames."""
        asked = switch.nonce()
        fields = f"connection: upgrade\r\nupgrade: {switch.PROTOCOL}\r\n{switch.NONCE}: {asked}\r\n"
        head = self._head(Request("GET", wire.PREFIX, (), self._terms.epoch()), 0, fields)
        late = asyncio.get_running_loop().call_later(SWITCH, self._stay, connection)
        self.switching[connection] = late
        connection.ask((head,), wire.UNPROVEN, partial(self._switched, connection, asked), switches=True)

    def _switched(self, connection: Connection, asked: str, outcome: Outcome) -> None:
        """The pod has answered whether a connection goes on in frames."""
        if not isinstance(outcome, Answer) or outcome.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._stay(connection)
            return
        self.switching.pop(connection).cancel()
        self._has_switched = True
        terms = self._terms
        key = switch.key(terms.secret, terms.version, asked, connection.nonce)
        self.channels.give(Channel(connection.transport, key))

    def _stay(self, connection: Connection) -> None:
        """A connection does not go on in frames: for a while no other one is to."""
        self.switching.pop(connection).cancel()
        self._plain_until = asyncio.get_running_loop().time() + PLAIN
        self._has_switched = False
        self.pool.give(connection)

    def _head(self, request: Request, nbytes: int, fields: str = "") -> bytes:
        """Return the head of a request with so many bytes of body, and with more fields."""
        terms, method, path, epoch = self._terms, request.method, request.path, request.epoch
        signed = wire.signature(terms.secret, method, path, *request.body, version=terms.version, epoch=epoch)
        if nbytes > wire.UNPROVEN:
            made = wire.opening(terms.secret, method, path, nbytes, version=terms.version, epoch=epoch)
            fields += f"{wire.OPENING}: {made}\r\n"
        return (
            f"{self._start(method, path)}content-length: {nbytes}\r\n{fields}"
            f"{wire.VERSION}: {terms.version}\r\n{wire.EPOCH}: {epoch}\r\n{wire.SIGNATURE}: {signed}\r\n\r\n"
        ).encode()

    def _start(self, method: str, path: str) -> str:
        """Return how the head of a request to a path begins."""
        found = self._starts.get((method, path))
        if found is None:
            address = self._address
            target = f"{address.prefix}{quote(path, safe=SAFE)}"
            asked = f"{method} {target} HTTP/1.1\r\nhost: {address.netloc}\r\n"
            found = f"{asked}content-type: {wire.MEDIA_TYPE}\r\n"
            self._starts[method, path] = found
        return found


class Errand:
    """A request under way, to its answer."""

    __slots__ = ("_connecting", "_connection", "_line", "_ran", "_request", "_timeout", "_told", "_twice")

    def __init__(self, line: Line, request: Request, told: Told, *, twice: bool) -> None:
        self._line = line
        self._request = request
        self._told = told
        self._twice = twice
        self._ran = False
        self._connection: Connection | Channel | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timeout = 0.0

    def start(self, timeout: float) -> None:
        """Send it, over a connection that is kept if there is one."""
        self._line.watch(self, timeout)
        self._timeout = timeout
        kept = self._line.kept(self._request)
        if kept is not None:
            self._over(kept)
        else:
            self._connecting = asyncio.ensure_future(self._over_new())

    def cancel(self) -> None:
        """Nobody wants to be told any more."""
        self._line.forget(self)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def late(self) -> None:
        """Nobody waits any longer; what was never sent has waited for nobody but the network."""
        sent = self._ran or self._connection is not None
        detail = f"no {'answer' if sent else 'connection'} within {self._timeout:.3g} s"
        self._end(PodError(detail, ran=sent, gone=not sent, timed_out=sent))

    async def _over_new(self) -> None:
        try:
            made = await self._line.pool.connect()
        except UpstreamError as error:
            self._connecting = None
            self._end(PodError(str(error), ran=self._ran, gone=True))
        else:
            self._connecting = None
            self._over(made)

    def _over(self, connection: Connection | Channel) -> None:
        self._connection = connection
        self._line.post(self._request, connection, self._heard)

    def _heard(self, outcome: Outcome) -> None:
        """An answer came over the connection, or why none does."""
        connection, self._connection = self._connection, None
        assert connection is not None
        if isinstance(outcome, Answer):
            self._line.give(connection, self._request)
            self._end(_good(outcome))
            return
        connection.close()
        if not isinstance(outcome, UpstreamError):
            detail = f"an answer of over {self._line.limit} bytes"
            self._end(PodError(detail, ran=True, gone=False, too_large=True))
            return
        self._ran = self._ran or not outcome.unsent
        if outcome.stale and self._twice:  # a kept connection has ended, which may be mere chance
            self._twice = False
            self._connecting = asyncio.ensure_future(self._over_new())
        else:
            self._end(PodError(str(outcome), ran=self._ran, gone=True))

    def _end(self, outcome: bytes | memoryview | PodError) -> None:
        self.cancel()
        self._told(outcome)


def _good(answer: Answer) -> bytes | memoryview | PodError:
    """Return what an answer says, unless its status says that it is none."""
    if answer.status < HTTPStatus.BAD_REQUEST:
        return answer.body
    refused = answer.status in REFUSALS
    nothing = refused or answer.status in NOT_NOW
    detail = f"{answer.status} {bytes(answer.body[:300]).decode(errors='replace')}"
    return PodError(detail, ran=not nothing, gone=nothing, refused=refused)
