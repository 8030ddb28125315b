"""Bytes become requests: llhttp's findings within our limits.

What is parsed ahead of being answered is bounded in requests, and what waits unparsed in bytes, as its connection is
held meanwhile.
"""

from __future__ import annotations

from collections import deque
from http import HTTPStatus
from typing import Protocol

import httptools

from regrain_watchdog.front.http1 import head
from regrain_watchdog.front.http1.body import Body, Source
from regrain_watchdog.front.http1.exchange import Exchange, Line
from regrain_watchdog.front.http1.limits import AHEAD, FRAMING, MAX_HEAD, MAX_TARGET, SLICE, RefusedError


class Connection(Source, Line, Protocol):
    """Whose requests these are."""


class Requests:
    """The requests of one connection; httptools calls the `on_` methods.

    Attributes:
        ahead: those that are not being answered yet.
        receiving: the one whose body is coming.
        in_head: whether a head has begun to come.
        ended: whether nothing that comes is a request any more.
    """

    __slots__ = (
        "_connection",
        "_fields",
        "_framing",
        "_head_size",
        "_held",
        "_parser",
        "_rest",
        "_target",
        "ahead",
        "ended",
        "in_head",
        "receiving",
    )

    def __init__(self, connection: Connection) -> None:
        self.ahead: deque[Exchange] = deque()
        self.receiving: Exchange | None = None
        self.in_head = False
        self.ended = False
        self._connection = connection
        self._fields: head.RawFields = []
        self._target = b""
        self._head_size = 0
        self._framing = 0
        self._rest = memoryview(b"")
        self._held = False
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Take what came; RefusedError where it is no request."""
        if len(data) <= SLICE and not self._rest and len(self.ahead) < AHEAD:
            self._parse(data)
            return
        self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
        self.go_on()

    def go_on(self) -> None:
        """Parse what waits, unless enough requests wait already; RefusedError as for `feed`."""
        while self._rest and len(self.ahead) < AHEAD and not self.ended:
            size = self._portion()
            piece, self._rest = self._rest[:size], self._rest[size:]
            self._parse(piece)
        holds = bool(self._rest) and not self.ended
        if holds != self._held:
            self._held = holds
            if holds:
                self._connection.hold()
            else:
                self._connection.release()

    def end(self) -> None:
        """No more comes: a body on its way has broken off."""
        self.ended = True
        if self.receiving is not None:
            self.receiving.body.fail()

    def close(self) -> None:
        """End, and forget what waits; the parser goes, as it holds these methods, which hold it.

        What came of a body goes at once, too: it may be large, and the connection is held by what it holds.
        """
        self.end()
        self.ahead.clear()
        if self.receiving is not None:
            self.receiving.body.discard()
        self._rest = memoryview(b"")
        self._parser = None

    def on_message_begin(self) -> None:
        """A request begins."""
        self.in_head = True

    def on_url(self, target: bytes) -> None:
        """Some of its target has come."""
        self._target += target
        if len(self._target) > MAX_TARGET:
            detail = f"the request's target has more than {MAX_TARGET} bytes"
            raise RefusedError(HTTPStatus.REQUEST_URI_TOO_LONG, detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come; behind a body it means nothing."""
        if self.in_head:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """The head has come."""
        if self._head_size:  # in several pieces; one piece is smaller than what is allowed
            size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in self._fields)
            _check_head(size, MAX_HEAD)
            self._head_size = 0
        parser = self._parser
        assert parser is not None
        found = head.read(parser.get_method(), self._target, self._fields, parser.get_http_version())
        body = Body(self._connection, ended=found.length == 0)
        keeps = parser.should_keep_alive() and not parser.should_upgrade()
        exchange = Exchange(found, body, self._connection, keeps=keeps)
        self._fields = []
        self._target = b""
        self.in_head = False
        if not body.ended:
            self.receiving = exchange
            self._framing = 0
        self.ahead.append(exchange)

    def on_body(self, data: bytes) -> None:
        """Some of the body has come."""
        assert self.receiving is not None
        self.receiving.body.feed(data)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self.receiving is not None:
            self.receiving.body.end()
            self.receiving = None

    def _portion(self) -> int:
        """Bytes to parse in one go; a body of known length has no request in it."""
        if self.receiving is None or self.receiving.head.length is None:
            return SLICE
        return max(SLICE, self.receiving.head.length - self.receiving.body.size)

    def _parse(self, data: bytes | memoryview) -> None:
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.ended = True  # what follows is not for us to read; such a request keeps no connection
        except httptools.HttpParserError as error:
            self.end()
            raise _refusal(error) from error
        if self.in_head:
            self._head_size += len(data)
            _check_head(self._head_size, MAX_HEAD + SLICE)
        elif self.receiving is not None and self.receiving.head.length is None:
            self._framing += len(data)
            self._check_framing(self.receiving.body.size)

    def _check_framing(self, size: int) -> None:
        if self._framing > MAX_HEAD + (FRAMING + 1) * size:
            self.end()
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the body's chunks are framed in too many bytes")


def _check_head(size: int, limit: int) -> None:
    if size > limit:
        detail = f"the request's head has more than {MAX_HEAD} bytes"
        raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, detail)


def _refusal(error: httptools.HttpParserError) -> RefusedError:
    cause = error.__context__
    if isinstance(cause, RefusedError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
        raise cause
    return RefusedError(HTTPStatus.BAD_REQUEST, f"the request is no HTTP: {error}")
