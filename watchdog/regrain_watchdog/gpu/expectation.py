"""Who is about to ask again: what goes to it next is kept for a moment.

A client that gives a lease back before it asks for the next one is not in line when the first is decided. Whatever it
is owed, it would have every other turn at most ("deceptive idleness": Iyer and Druschel, SOSP '01). So its next ask is
taken to be there already, for a small part of the time that it held the lease, if it came as soon the last time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable

from regrain_watchdog.gpu.limits import Limits
from regrain_watchdog.gpu.members import Client, Lease, Waiting


class Expectation:
    """Learns who comes back soon, and puts those into the line."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def released(self, lease: Lease, now: float) -> None:
        """A client has given a lease back and asks for nothing yet."""
        client = lease.client
        if client.asks or client.leases:
            return
        client.soon = now + min(self._limits.keep, self._limits.keep_part * (now - lease.start))
        if client.prompt:
            client.expected = Waiting(
                client=client,
                number=0,
                order=sys.maxsize,
                sms=lease.sms,
                seconds=lease.seconds,
                deadline=math.inf,
                since=now,
            )

    def asked(self, client: Client, now: float) -> None:
        """A client asks: it is expected no more, and again if it came soon."""
        if client.soon:
            client.prompt = now <= client.soon
        client.soon, client.expected = 0.0, None

    def those(self, clients: Iterable[Client], now: float) -> list[Waiting]:
        """Return the asks that are expected now."""
        found = []
        for client in clients:
            if client.expected is not None and now >= client.soon:
                client.expected = None
            if client.expected is not None:
                found.append(client.expected)
        return found
