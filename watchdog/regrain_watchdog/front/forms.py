"""Bodies of type multipart/form-data, cut into their parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks  # it exists for type checkers alone

MEDIA_TYPE = "multipart/form-data"
MAX_PARTS = 256


@dataclass(slots=True)
class Part:
    """One part: the field it is for, its own content type ("" if it says none), and its bytes."""

    name: str = ""
    content_type: str = ""
    body: bytearray = field(default_factory=bytearray)


def parts(body: bytes, content_type: str) -> list[Part]:
    """Return the parts of a body; ValueError says what is wrong with it."""
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    collector = _Collector()
    try:
        MultipartParser(boundary, collector.callbacks()).write(body)
    except FormParserError as error:
        raise ValueError(str(error)) from error
    if not collector.complete:
        raise ValueError("it ends before its closing boundary")
    return collector.parts


class _Collector:
    """Puts together what the parser reports piece by piece."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._name = bytearray()
        self._value = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MAX_PARTS:
            raise FormParserError(f"it has more than {MAX_PARTS} parts")
        self.parts.append(Part())

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].body += memoryview(data)[start:end]

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        name, value = bytes(self._name).lower(), bytes(self._value)
        self._name.clear()
        self._value.clear()
        if name == b"content-disposition":
            self.parts[-1].name = parse_options_header(value)[1].get(b"name", b"").decode("utf-8", "replace")
        elif name == b"content-type":
            self.parts[-1].content_type = value.decode("latin-1")

    def _headers_end(self) -> None:
        if not self.parts[-1].name:
            raise FormParserError("a part has no name in its Content-Disposition")

    def _end(self) -> None:
        self.complete = True
