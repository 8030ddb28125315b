"""One kept connection to another pod: a request goes out, and its whole answer comes back to a callback.

No task waits for an answer, and no future: each turn of the loop that they take is time of every hop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httptools

from regrain_watchdog.front.remote import switch
from regrain_watchdog.front.upstream.client import INFORMATIONAL, MAX_HEAD, SWITCHING, UpstreamError

NONCE = switch.NONCE.encode()


@dataclass(slots=True, frozen=True)
class Answer:
    """A status, and all of a body."""

    status: int
    body: bytes | memoryview


class TooLargeError(Exception):
    """An answer's body has more bytes than were allowed."""


Outcome = Answer | UpstreamError | TooLargeError


class Connection(asyncio.Protocol):
    """A connection to a pod, one request at a time; httptools calls the `on_` methods.

    Attributes:
        reused: whether it was kept after another request.
        nonce: which came with its last answer; "" without.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.reused = False
        self.nonce = ""
        self._closed = False
        self._keeps = self._switches = False
        self._told: Callable[[Outcome], None] | None = None
        self._limit = 0
        self._seen = self._size = self._status = 0
        self._length: int | None = None
        self._chunked = self._whole = False
        self._chunks: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def ask(
        self,
        request: Sequence[bytes | memoryview],
        limit: int,
        told: Callable[[Outcome], None],
        *,
        switches: bool = False,
    ) -> None:
        """Send a request; `told` is called once, in a later turn of the loop, unless the connection is closed before.

        limit: bytes that the answer's body may have. switches: whether 101 may be the answer.
        """
        self._told, self._limit, self._keeps, self._switches = told, limit, False, switches
        self._reset()
        if self._closed:
            gone = UpstreamError("the pod closed the connection", unsent=True, stale=True)
            asyncio.get_running_loop().call_soon(self._tell, gone)
        elif len(request) == 1:
            self.transport.write(request[0])
        else:
            self.transport.writelines(request)

    @property
    def reusable(self) -> bool:
        """Whether another request may go over it: its last answer says so, and did not come before all was sent."""
        transport = self.transport
        is_open = self._keeps and not self._closed and not transport.is_closing()
        return is_open and not transport.get_write_buffer_size()

    def rest(self) -> None:
        """Until the next request whatever comes is out of order."""

    def close(self) -> None:
        """End it, whatever is on its way; nobody is told."""
        self._told, self._closed = None, True
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of streams only
        """Take the transport."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is on its way, unless the end of the connection is the end of the answer."""
        self._closed = True
        if self._status and self._length is None and not self._chunked and exc is None:
            self._finish()
        else:
            self._fail("the pod closed the connection before its answer was complete")

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        self._seen += len(data)
        if self._told is None:  # nobody asked for it
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            if not self._whole or error.args[0] != len(data):  # nobody asked for it, or it goes on by itself
                self._fail("the pod's answer is no HTTP any more")
                self.close()
                return
        except httptools.HttpParserError as error:
            self._fail(f"the pod's answer is no HTTP: {type(error).__name__}")
            self.close()
            return
        if not self._status and self._seen > MAX_HEAD:
            self._fail(f"the head of the pod's answer has more than {MAX_HEAD} bytes")
            self.close()
        elif max(self._length or 0, self._size) > self._limit:
            self._tell(TooLargeError())
            self.close()
        elif self._whole:
            self._finish()

    def on_message_begin(self) -> None:
        """A head begins; behind the answer it is that of one which nobody asked for."""
        if self._whole:
            self._keeps = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; behind a body it means nothing."""
        if self._status:
            return
        lower = name.lower()
        if lower == b"content-length":
            self._length = int(value)
        elif lower == b"transfer-encoding":
            self._chunked = True
        elif lower == NONCE:
            self.nonce = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the status, unless it is a provisional one."""
        status = self._parser.get_status_code()
        if self._status:
            return
        if status < INFORMATIONAL and not (status == SWITCHING and self._switches):
            self._length, self._chunked = None, False
        else:
            self._status = status
            self._keeps = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if not self._whole:
            self._chunks.append(data)
            self._size += len(data)

    def on_message_complete(self) -> None:
        """The answer is complete, or was a provisional one."""
        self._whole = self._status > 0

    def _reset(self) -> None:
        """Expect an answer."""
        self._seen = self._size = self._status = 0
        self._length = None
        self._chunked = self._whole = False
        self._chunks = []

    def _finish(self) -> None:
        """The answer is here."""
        chunks, self._chunks = self._chunks, []
        self._tell(Answer(self._status, chunks[0] if len(chunks) == 1 else b"".join(chunks)))

    def _fail(self, detail: str) -> None:
        self._tell(UpstreamError(detail, stale=self.reused and not self._seen))

    def _tell(self, outcome: Outcome) -> None:
        told, self._told = self._told, None
        if told is not None:
            told(outcome)
