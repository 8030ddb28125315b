"""Times that options say, as `300ms`, `30s` or a number of seconds."""

from __future__ import annotations

from regrain.errors import SpecError
from regrain.units import parse_seconds


def above_zero(text: str, option: str) -> float:
    """Return the seconds that an option says; SpecError where it is no time."""
    seconds = parse_seconds(text, option)
    if seconds <= 0:
        raise SpecError(f"{option} must be more than 0 seconds")
    return seconds
