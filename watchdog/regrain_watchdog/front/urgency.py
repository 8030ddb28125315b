"""How urgent a request is: its deadline and its priority, from the app's objective and from the caller's headers.

A caller may lower the deadline, never raise it. One that it lowered is firm: nobody listens past it, so a request that
cannot meet it is answered 504 at once. The objective's own is soft (policy/shed.py says what follows).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.front.call import LEAST_URGENT, Call
from regrain_watchdog.front.upstream.heads import go_duration

TIMEOUT = "x-timeout"
REMAINING = "x-regrain-deadline-ms"
PRIORITY = "x-regrain-priority"
LONGEST = 1e6
"""Seconds of a deadline at most, 11 days: beyond it there might as well be none."""
_MILLISECONDS = re.compile(r"\d{1,12}(\.\d{1,6})?")


def admit(call: Call, headers: Mapping[str, str], latency: float) -> None:
    """Give a call its deadline and its priority.

    Args:
        call: it has arrived.
        headers: by name in lower case.
        latency: seconds of the app's objective, 0.0 without one.

    Raises:
        RequestError: (400) a header says what is neither a duration nor a priority.
    """
    if latency:
        call.deadline = call.arrived + latency
    if TIMEOUT in headers:
        lower(call, _timeout(headers[TIMEOUT]))
    if REMAINING in headers:
        lower(call, _remaining(headers[REMAINING]))
    if PRIORITY in headers:
        call.priority = _priority(headers[PRIORITY])


def lower(call: Call, seconds: float) -> None:
    """Give a call a firm deadline of so many seconds from its arrival, unless it has an earlier one."""
    deadline = call.arrived + min(seconds, LONGEST)
    if not call.deadline or deadline < call.deadline:
        call.deadline = deadline
        call.firm = True


def _timeout(text: str) -> float:
    seconds = go_duration(text)
    if seconds is None or not 0.0 < seconds < math.inf:
        raise _refusal("X-Timeout", 'a duration over 0 such as "500ms" or "1m30s"', text)
    return seconds


def _remaining(text: str) -> float:
    if not _MILLISECONDS.fullmatch(text):
        raise _refusal("X-Regrain-Deadline-Ms", "the milliseconds that are left, from 0", text)
    return float(text) / 1e3


def _priority(text: str) -> int:
    if len(text) != 1 or not "0" <= text <= str(LEAST_URGENT):
        raise _refusal("X-Regrain-Priority", f"a digit from 0 (most urgent) to {LEAST_URGENT}", text)
    return int(text)


def _refusal(header: str, allowed: str, text: str) -> RequestError:
    shown = text if len(text) <= 64 else f"{text[:64]}..."
    return RequestError(HTTPStatus.BAD_REQUEST, f"{header} must be {allowed}, was {shown!r}")
