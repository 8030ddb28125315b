"""Which stage of a fluid group runs next, on which card, and what the change of lease costs.

The replicas of a fluid group have all its stages loaded; a dispatch runs one of them and holds a lease of as much as
that stage takes. So the share that is free goes to whoever is most urgent, whatever its stage.

All are functions of scalars and arrays, so that the live system and a simulator run the very same decisions.
"""

from __future__ import annotations

from collections.abc import Sequence

NOBODY = float("inf")
"""The urgency of a stage for which nothing waits."""
ROUNDING = 1e-9
"""Of a card: by so much a lease may exceed what is free, since shares do not add up exactly in binary."""


def card_for(take: float, free: Sequence[float]) -> int:
    """Return the card on which a lease leaves least over; -1 if it fits on none. `free`: the share of each."""
    best = -1
    for card in range(len(free)):
        if take <= free[card] + ROUNDING and (best < 0 or free[card] < free[best]):
            best = card
    return best


def next_up(
    urgency: Sequence[float], takes: Sequence[float], free: Sequence[float], *, passes: bool
) -> tuple[int, int]:
    """Return the stage whose dispatch goes next and the card for it; (-1, -1) if none goes.

    The share that the most urgent one lacks is kept for it, so that only what takes no share passes; or all may pass
    that fits. That leaves less idle, and what takes much may wait for long.

    Args:
        urgency: by stage, the deadline of the unit whose turn is next; NOBODY where none waits. Of equal ones the last
            stage goes first, since what it finishes makes room.
        takes: by stage, the share of a card that its dispatch holds.
        free: by card, the share that is free.
        passes: whether all may pass that fits.

    Example: urgencies (3.0, 1.0), free (0.5,): takes (0.2, 0.6) -> (-1, -1), or (0, 0) if it passes; takes (0.0, 0.6)
    -> (0, 0).
    """
    first = -1
    for place in range(len(urgency)):
        if urgency[place] < NOBODY and (first < 0 or urgency[place] <= urgency[first]):
            first = place
    if first < 0:
        return -1, -1
    card = card_for(takes[first], free)
    if card >= 0:
        return first, card
    found, on = -1, -1
    for place in range(len(urgency)):
        if urgency[place] < NOBODY and (passes or takes[place] <= 0.0):
            card = card_for(takes[place], free)
            if card >= 0 and (found < 0 or urgency[place] <= urgency[found]):
                found, on = place, card
    return found, on


def switching(lease: float, *, take: float, before: float, continues: bool, others: bool) -> float:
    """Return the seconds that a dispatch holds its lease before it runs.

    Args:
        lease: seconds of a change of lease.
        take: what it takes; 0 needs no lease.
        before: what the dispatch before it on the replica took.
        continues: whether that was of the same request.
        others: whether something else waits, so that the lease is given back in between.
    """
    if take <= 0.0 or (continues and take == before and not others):
        return 0.0
    return lease


def at_once(servers: int, cards: Sequence[float], take: float) -> int:
    """Return how many dispatches of a stage run at once if no other stage's do; at least 1."""
    if take <= 0.0:
        return max(1, servers)
    fitting = 0
    for card in range(len(cards)):
        fitting += int((cards[card] + ROUNDING) / take)
    return max(1, min(servers, fitting))
