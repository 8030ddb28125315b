"""Read sizes, durations, switches and numbers as people write them in settings. Inside: bytes, seconds, bools, ints."""

from __future__ import annotations

import math
import re

from regrain.errors import SpecError

SIZES = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
DURATIONS = {"": 1.0, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
DIGITS = 18
"""Of a whole number at most, zeros at its beginning included; Python itself reads no thousands of them."""
_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)", re.ASCII)
_NEXT = re.compile(r"(?<=[A-Za-z])(?=[\d.])")
"""Between the parts of "1m30s"."""


def parse_bytes(value: str | int, name: str = "memory") -> int:
    """Return a size in bytes, given as a number of bytes or like "512Mi" (binary) or "512M" (decimal).

    Args:
        value: what the user wrote.
        name: what the value is for, for the error.

    Raises:
        SpecError: it is no size, or it is negative.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    number = _quantity(value, SIZES)
    if number is None:
        raise SpecError(f'{name} must be bytes or a size like "512Mi" ({_units(SIZES)}), was {value!r}')
    return round(number)


def parse_seconds(value: str | float, name: str = "duration") -> float:
    """Return a duration in seconds, given as a number of seconds or like "300ms", "1.5s" or "1m30s".

    Args:
        value: what the user wrote.
        name: what the value is for, for the error.

    Raises:
        SpecError: it is no duration, or it is negative.
    """
    if isinstance(value, int | float) and is_number(value) and value >= 0:
        return float(value)
    seconds = _sum(_NEXT.split(value.strip())) if isinstance(value, str) else None
    if seconds is None:
        raise SpecError(
            f'{name} must be seconds or a duration like "300ms" ({_units(DURATIONS)}), was {value!r}'
        )
    return seconds


def parse_switch(value: str, name: str = "switch") -> bool:
    """Return whether a switch is on, given as "on" or "off", "true" or "false", "1" or "0".

    Args:
        value: what the user wrote.
        name: what the value is for, for the error.

    Raises:
        SpecError: it is none of these.
    """
    found = SWITCH.get(value.strip().lower())
    if found is None:
        raise SpecError(f"{name} must be on or off, was {value!r}")
    return found


def read_whole(text: str, allowed: range) -> int | None:
    """Return a whole number, written in ASCII digits alone; None for anything else, and for one that is not allowed."""
    if not text.isascii() or not text.isdigit() or len(text) > DIGITS:
        return None
    number = int(text)
    return number if number in allowed else None


def is_number(value: object) -> bool:
    """Whether a value is a finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _sum(parts: list[str]) -> float | None:
    """Add up a duration's parts, of which only one that stands alone may be without a unit."""
    numbers = [_quantity(part, DURATIONS) for part in parts if len(parts) == 1 or part[-1].isalpha()]
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(parts) else None


def _quantity(value: object, units: dict[str, int] | dict[str, float]) -> float | None:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or match[2] not in units:
        return None
    number = float(match[1]) * units[match[2]]
    return number if math.isfinite(number) else None


def _units(units: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(unit for unit in units if unit)
