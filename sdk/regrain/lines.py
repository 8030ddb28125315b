"""The form of a log line: one for people and one for collectors, the same from every process of an app."""

from __future__ import annotations

import logging
import time
import traceback
from itertools import groupby

import msgspec

PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""What every record has; anything else was given by `extra` and belongs into the line."""
ENDS = 20
"""Frames of an exception that are kept at either end: one of a recursion without an end has a thousand and more."""
CHAIN = 100
"""Frames and other lines that are kept at either end of exceptions that led to one another."""
FRAME = ("  File ", "  [Previous line repeated ")
"""What frames begin with, as `traceback` writes them."""


class Text(logging.Formatter):
    """A line for people: time, level, logger, event and fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = "".join(f" {name}={value}" for name, value in extra(record).items())
        record.message = record.getMessage()
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{moment} {record.levelname.lower()} {record.name}: {record.message}{fields}"
        raised = _raised(record)
        return f"{line}\n{raised}" if raised else line


class Json(logging.Formatter):
    """A line for collectors: an object with time (ISO 8601, UTC), level, logger, event and fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **extra(record),
        }
        if raised := _raised(record):
            line["error"] = raised
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except Exception:  # of whatever a field holds, or its own str() raises
            return msgspec.json.encode({_text(name): _sound(value) for name, value in line.items()}).decode()


def _sound(value: object) -> object:
    """Return a value as JSON has it; as text where it cannot, such as half a character or a key that is none."""
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=str))
    except Exception:
        return _text(value)


def _text(value: object) -> str:
    """Return a value as text that every encoding has; its type where it cannot be told."""
    try:
        return str(value).encode(errors="replace").decode()
    except Exception:
        return type(value).__name__


def extra(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields that a record was given."""
    return {name: value for name, value in record.__dict__.items() if name not in PLAIN}


def _raised(record: logging.LogRecord) -> str:
    """The traceback that a record carries, or ""; of each exception, what is too long for a log lacks its middle."""
    if not record.exc_info:
        return ""
    told: list[str] = []
    parts = groupby(traceback.format_exception(*record.exc_info), lambda part: part.startswith(FRAME))
    for are_frames, run in parts:
        lines = list(run)
        told += _shortened(lines, ENDS) if are_frames else lines
    return "".join(_shortened(told, CHAIN)).rstrip()


def _shortened(parts: list[str], ends: int) -> list[str]:
    """Return parts without those in the middle, of which so many are kept at either end."""
    left_out = len(parts) - 2 * ends
    return [*parts[:ends], f"  ... {left_out} more ...\n", *parts[-ends:]] if left_out > 0 else parts


def formatter(form: str) -> logging.Formatter:
    """Return the formatter of a form, "text" or "json"."""
    return Json() if form == "json" else Text()
