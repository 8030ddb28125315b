"""What a request meets where a setting asks for it: the invocation key, trace contexts, the access log.

The same settings as for apps (`front/access.py`), on requests whose fields are still the bytes that came.
"""

from __future__ import annotations

import logging
from urllib.parse import quote

from regrain_watchdog.front import trace_context
from regrain_watchdog.front.access import PROBE
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.trace_context import TRACEPARENT, TRACESTATE
from regrain_watchdog.front.upstream.exchange import Exchange, Request

TRACE = (TRACEPARENT.encode(), TRACESTATE.encode())
logger = logging.getLogger("regrain.access")


class Checks:
    """Checks requests and logs them.

    Args:
        config: SpecError where the file of its invocation key holds none.
        records: whether requests are recorded, who then names their traces.
    """

    def __init__(self, config: Config, *, records: bool = False) -> None:
        self._key = Key.load(config.invocation_key_file, "invocation_key_file")
        self._makes = config.trace_context == "make" and not records
        self._logs = config.access_log != "off"
        self._always = self._key is not None or self._makes

    def admit(self, request: Request) -> None:
        """Let a request in without its key, its trace context as it should be; RequestError 401 without a key."""
        if not self._always and not any(name.lower() in TRACE for name, _ in request.fields):
            return
        headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in request.fields}
        known = set(headers)
        if self._key is not None:
            self._key.check(headers)
            headers = self._key.without(headers)
        trace_context.keep_valid(headers)
        dropped = {name.encode("latin-1") for name in known - headers.keys()}
        if dropped:
            request.fields = [field for field in request.fields if field[0].lower() not in dropped]
        if self._makes and TRACEPARENT not in headers:
            request.fields.append((TRACEPARENT.encode(), trace_context.make().encode()))

    def log(self, call: Call, exchange: Exchange, status: int, seconds: float) -> None:
        """Log a request that is over, if that is asked for."""
        request = exchange.request
        if not self._logs or request.field(b"user-agent").startswith(PROBE):
            return
        fields: dict[str, object] = {
            "method": request.method,
            "path": quote(request.target.partition(b"?")[0], safe="/%"),
            "status": status,
            "seconds": round(seconds, 6),
            "call_id": call.id,
            "received": request.body.total,
            "sent": exchange.sent,
        }
        if trace := trace_context.trace_id(request.field(TRACEPARENT.encode())):
            fields["trace_id"] = trace
        logger.info("request", extra=fields)
