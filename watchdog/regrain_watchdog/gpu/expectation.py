"""Who is about to ask again: what goes to it next is kept for a moment.

A client that gives a lease back before it asks for the next one is not in line when the first is decided. Whatever it
is owed, it would have every other turn at most ("deceptive idleness": Iyer and Druschel, SOSP '01). So its next ask is
taken to be there already, for a small part of the time that it held the lease, if it came as soon the last time. What
it keeps from a wider one is more than it had: for that it has less time, so that the SM-seconds which are lost remain a
small part of those that it held.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection

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

    def those(self, clients: Collection[Client], free: int, now: float) -> list[Waiting]:
        """Return the asks that are expected now, `free` SMs being free."""
        for client, end in self.ends(clients, free).items():
            if now >= end:
                client.expected = None
        return [client.expected for client in clients if client.expected is not None]

    def ends(self, clients: Collection[Client], free: int) -> dict[Client, float]:
        """Return until when each that is expected is, if those that wait now, and `free`, stay what they are."""
        waiting = [client for client in clients if not client.entitlement.throttled]
        fitting = [ask.sms for client in waiting for ask in client.asks.values() if ask.sms <= free]
        widest = max(fitting, default=1)
        return {
            client: ask.since + (client.soon - ask.since) * min(1.0, ask.sms / widest)
            for client in clients
            if (ask := client.expected) is not None
        }
