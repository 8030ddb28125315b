"""W3C Trace Context: which traceparent is one, and how to make one.

Where the front records no spans (tracing/), it is no participant of a trace: it passes `traceparent` and
`tracestate` on unchanged, to stages by context().headers and to upstreams. It drops what is malformed, as
https://www.w3.org/TR/trace-context/ asks.
"""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
VALID = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
    r"(?P<more>-[!-~]*)?"
)


def trace_id(text: str) -> str:
    """Return the trace id of a traceparent, 32 hexadecimal digits; "" for one that is malformed."""
    found = VALID.fullmatch(text)
    if found is None or (found["version"] == "00" and found["more"]):
        return ""
    return found["trace"]


def keep_valid(headers: MutableMapping[str, str]) -> None:
    """Drop a malformed traceparent, and a tracestate that has none (names in lower case)."""
    if not trace_id(headers.get(TRACEPARENT, "")):
        headers.pop(TRACEPARENT, None)
        headers.pop(TRACESTATE, None)


def make() -> str:
    """Return a new traceparent, not sampled: whether to record is for those who do."""
    return f"00-{_id(16)}-{_id(8)}-00"


def _id(nbytes: int) -> str:
    """Random hexadecimal digits, not all zero."""
    while not any(drawn := os.urandom(nbytes)):
        pass
    return drawn.hex()
