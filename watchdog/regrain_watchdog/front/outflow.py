"""A streamed answer over HTTP: server-sent events, or lines of JSON.

The head goes out with the first item, so that a call that fails before still gets its status. What fails later is
told in the stream: an event `error`, or a last line whose one key is "error".
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import RequestError
from regrain.media import EVENTS
from regrain_watchdog.front import problem
from regrain_watchdog.front.answer import Headers, to_json
from regrain_watchdog.front.handler import Exchange
from regrain_watchdog.front.streaming import Stream

HEADERS = [
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx would hold items back
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outflow:
    """A response under way: its items, and the media type that they leave in."""

    items: Stream
    media: str

    async def send(self, proto: Exchange, fields: Headers, call_id: str) -> int:
        """Send every item; return the status that the call ended with. CallerGoneError where nobody takes them."""
        head = [("content-type", self.media), *HEADERS, *fields]
        stream = proto.response_stream(HTTPStatus.OK.value, head)
        try:
            async for item in self.items:
                await stream.send_bytes(self._framed(to_json(item)))
        except RequestError as error:
            await stream.send_bytes(self._error(problem.problem(error, call_id)))
            return error.status.value
        return HTTPStatus.OK.value

    def _framed(self, text: bytes) -> bytes:
        return b"data: %b\n\n" % text if self.media == EVENTS else text + b"\n"

    def _error(self, told: bytes) -> bytes:
        if self.media == EVENTS:
            return b"event: error\ndata: %b\n\n" % told
        return b'{"error":%b}\n' % told
