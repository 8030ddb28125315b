"""How far each client is with its fair part of a device, by priority: start-time fair queueing of leases side by side.

Its virtual time is what a client has had over its weight, and who has the least goes first. Where leases run side by
side, one may get far ahead of another by using what this one leaves, as it waits for no more or goes by its floor. That
must not be held against it later: it would wait until the other had caught up with all of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from regrain_watchdog.gpu.limits import Limits
from regrain_watchdog.gpu.members import Client


class Fairness:
    """The virtual time of each priority, and what it means for clients that come back or go next."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._virtual: dict[int, float] = {}

    def start(self, priority: int) -> float:
        """Return the virtual time of a priority when last looked at, at which a client may start."""
        return self._virtual.get(priority, 0.0)

    def join(self, clients: Collection[Client], now: float) -> None:
        """Let who begins to wait again start beside those of its priority that are waiting, not before them."""
        back = []
        for client in clients:
            client.entitlement.advance(now)
            away = client.entitlement.throttled or not client.is_there
            if client.idle and not away:
                back.append(client)
            client.idle = client.idle or away
        for priority in {client.share.priority for client in clients}:
            self._virtual[priority] = self._virtual_of(priority, clients, now)
        for client in back:
            client.idle = False
            standing = client.entitlement
            standing.vtime = max(standing.vtime, self._virtual[client.share.priority])

    def go(self, going: Client, clients: Iterable[Client]) -> None:
        """Let nobody of its priority be far behind a client that goes now by its fair part.

        Those that have all they wait for, or go by their floor, are behind by the leases they hold at most; those that
        it goes before, as they do not fit, by `window` seconds of what they wait for. As that is less for a heavier
        one, all of the priority are taken along together: else it would fall behind lighter ones for good, also behind
        such as are served just then.
        """
        if going.entitlement.under_floor:
            return
        priority, start = going.share.priority, going.entitlement.vtime
        others = [each for each in clients if each.share.priority == priority and not each.idle]
        passed = [each for each in others if each.contends and each.entitlement.vtime < start]
        window = self._limits.window
        along = max(
            (
                start - window * each.widest / each.entitlement.weight - each.entitlement.vtime
                for each in passed
            ),
            default=0.0,
        )
        for each in others:
            standing = each.entitlement
            standing.vtime = max(standing.vtime, min(start, standing.vtime + along))
            if not each.contends:
                lag = window * each.widest if passed else each.charged
                standing.vtime = max(standing.vtime, start - lag / standing.weight)

    def _virtual_of(self, priority: int, clients: Iterable[Client], now: float) -> float:
        """Return the virtual time of a priority: the least of those that are there, and never less than it was."""
        there = (
            client.vtime(now) for client in clients if client.share.priority == priority and not client.idle
        )
        before = self.start(priority)
        return max(before, min(there, default=before))
