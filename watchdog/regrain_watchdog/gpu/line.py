"""Which of those that wait for the device goes next.

By order: what was passed over for too long, a priority that was, clients under their floor, priority, then fairness
(least virtual time), then a client's own deadlines. The first that fits goes, so a small ask may go before a large one
that does not fit yet, though only for `reserve_after`: from then on nothing else goes until the large one has.
"""

from __future__ import annotations

import math
from collections.abc import Collection

from regrain_watchdog.gpu.limits import Limits
from regrain_watchdog.gpu.members import Waiting

RESERVED, DUE, FLOOR, FAIR = range(4)
Rank = tuple[int, float, float, float, int]


class Line:
    """The order among asks, and since when each priority has been passed over."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._passed: dict[int, float] = {}

    def take(self, eligible: Collection[Waiting], free: int, now: float) -> Waiting | None:
        """Return which of these goes now, `free` SMs being free, and note who was passed over; None for none.

        Nothing is noted for one that does not really go, as it is only expected.
        """
        waiting = {ask.client.share.priority for ask in eligible}
        self._passed = {priority: since for priority, since in self._passed.items() if priority in waiting}
        ordered = sorted(eligible, key=lambda ask: self._rank(ask, now))
        if not ordered:
            return None
        first = ordered[0]
        if first.sms > free and self._is_reserved(first, now):
            return None
        chosen = next((ask for ask in ordered if ask.sms <= free), None)
        if chosen is None or chosen is chosen.client.expected:
            return chosen
        if chosen is not first and first.passed is None:
            first.passed = now
        self._pass_over(chosen, ordered, now)
        return chosen

    def _rank(self, ask: Waiting, now: float) -> Rank:
        client = ask.client
        since = self._passed.get(client.share.priority, now)
        if ask.passed is not None and self._is_reserved(ask, now):
            place = (RESERVED, ask.passed)
        elif client.entitlement.under_floor:
            place = (FLOOR, 0.0)
        elif now - since >= self._limits.patience:
            place = (DUE, since)
        else:
            place = (FAIR, float(client.share.priority))
        return (*place, client.entitlement.vtime, ask.deadline, ask.order)

    def _is_reserved(self, ask: Waiting, now: float) -> bool:
        return ask.passed is not None and now - ask.passed >= self._limits.reserve_after

    def _pass_over(self, chosen: Waiting, ordered: list[Waiting], now: float) -> None:
        """Start the clock of each priority behind what goes, and stop that of its own.

        Not for one that goes before another of its priority which does not fit: small ones would hide that it starves.
        """
        if chosen.client.entitlement.under_floor:
            urgency = -math.inf
        else:
            urgency = chosen.client.share.priority
            foremost = next(ask for ask in ordered if _is_fair(ask) and ask.client.share.priority == urgency)
            if chosen is foremost:
                self._passed.pop(chosen.client.share.priority, None)
        for ask in ordered:
            if _is_fair(ask) and ask.client.share.priority > urgency:
                self._passed.setdefault(ask.client.share.priority, now)


def _is_fair(ask: Waiting) -> bool:
    """Whether it goes by priority and fairness, not by its floor."""
    return not ask.client.entitlement.under_floor
