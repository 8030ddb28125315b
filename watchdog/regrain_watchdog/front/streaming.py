"""Answers that come item by item: from the replica's frames to whoever takes them, and never many in between.

A replica sends no item that it was not granted, so what waits here is bounded by AHEAD items whoever is slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

from regrain.errors import RegrainError, RequestError
from regrain.wire.codec import plain
from regrain.wire.frames import Value
from regrain_watchdog.front.call import Call, Reply, Service

AHEAD = 16
"""Items that a replica may be ahead of who takes them."""
WHOLE_LIMIT = 16 << 20
"""Bytes of items that are collected into one answer at most."""


class Stream:
    """The items of a call, one by one; iterate once, and `close` in any case.

    Args:
        service: what runs the call.
        call: with all but its items.
    """

    def __init__(self, service: Service, call: Call) -> None:
        self._values: deque[Value] = deque()
        self._grant: Callable[[int], None] | None = None
        self._taken = 0
        self._stirred = asyncio.Event()
        self.has_begun = False
        call.items = self
        self._run = asyncio.create_task(service.submit(call))  # bound to the plan in force now
        self._run.add_done_callback(self._ended)

    def attach(self, grant: Callable[[int], None]) -> None:
        """A replica begins."""
        self._grant = grant
        grant(AHEAD)

    def put(self, value: Value) -> None:
        """Take the next item."""
        self.has_begun = True
        self._values.append(value)
        self._stirred.set()

    def whole(self) -> object:
        """Return what stands for the answer: this stream."""
        return self

    async def begin(self) -> Reply | None:
        """Wait for the first item, or an end without; return what a stage answered in place of a stream.

        RequestError if the call failed before there was an item.
        """
        await self._stir()
        if self.has_begun:
            return None
        reply = self._run.result()
        return None if reply.value is self else reply

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> object:
        """Return the next item as a plain value; RequestError if the call failed behind the last one."""
        await self._stir()
        if not self._values:
            self._run.result()
            raise StopAsyncIteration
        value = _plain(self._values.popleft())
        self._taken += 1
        if self._taken >= AHEAD // 2 and self._grant is not None:
            self._grant(self._taken)
            self._taken = 0
        return value

    def close(self) -> None:
        """Take no more: a call that still runs is cancelled."""
        self._run.cancel()
        self._values.clear()
        if self._grant is not None:
            self._grant(0)

    async def _stir(self) -> None:
        while not self._values and not self._run.done():
            self._stirred.clear()
            await self._stirred.wait()

    def _ended(self, run: asyncio.Task[Reply]) -> None:
        if not run.cancelled():
            run.exception()  # whoever iterates is told; nobody may be left
        if self._grant is not None:
            self._grant(0)
        self._stirred.set()


class Collected:
    """The items of a call as one list."""

    def __init__(self) -> None:
        self._items: list[object] = []
        self._nbytes = 0
        self._error: RequestError | None = None
        self._grant: Callable[[int], None] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether there was an item."""
        return bool(self._nbytes)

    def attach(self, grant: Callable[[int], None]) -> None:
        """A replica begins."""
        self._grant = grant
        grant(AHEAD)

    def put(self, value: Value) -> None:
        """Take the next item; behind one that cannot be part of the answer no further one is wanted."""
        self._nbytes += size_of(value)
        if self._error is None:
            try:
                self._items.append(self._readable(value))
            except RequestError as error:  # told by `whole`: here it would be the replica's fault
                self._error = error
        if self._grant is not None:
            self._grant(1 if self._error is None else 0)

    def _readable(self, value: Value) -> object:
        if self._nbytes > WHOLE_LIMIT:
            detail = f"the answer has over {WHOLE_LIMIT} bytes, which is sent as a stream alone: ask for one by Accept"
            raise RequestError(HTTPStatus.NOT_ACCEPTABLE, detail)
        return _plain(value)

    def whole(self) -> object:
        """Return the list; RequestError if it would be too large (406), or an item cannot be read (500)."""
        if self._error is not None:
            raise self._error
        return self._items


def size_of(value: Value) -> int:
    """Return the bytes of an item."""
    return len(value.skeleton) + sum(leaf.nbytes for leaf in value.leaves)


def _plain(value: Value) -> object:
    try:
        return plain(value, None)
    except RegrainError as error:
        detail = f"an item of the answer cannot be read: {error}"
        raise RequestError(HTTPStatus.INTERNAL_SERVER_ERROR, detail) from error
