"""What becomes of the requests that a replica held when it died.

One of them may be what killed it, so each that was being run is tried once more, alone in its dispatch: then the next
death says whose fault it is, and all others are answered.
"""

from __future__ import annotations

import enum

DEATHS = 2
"""Dead dispatches after which a unit is poison."""


class Progress(enum.Enum):
    """How far a dispatch was when its replica died."""

    WAITED = "waited"
    RAN = "ran"
    FINISHED = "finished"


class Verdict(enum.Enum):
    """What becomes of a unit.

    AGAIN: it goes back to its place in line. ALONE: it is tried once more, in a dispatch of its own.
    POISON: it was in two dead dispatches. ENDED: it must not run twice. LATE: it ran over a stage's timeout.
    """

    AGAIN = "again"
    ALONE = "alone"
    POISON = "poison"
    ENDED = "ended"
    LATE = "late"


def progress(dispatch: int, begun: int) -> Progress:
    """Return how far a dispatch was, its number and that of the last one that the replica began being known.

    A replica takes dispatches in the order of their numbers. One before the last was finished, and its results had
    not left yet.
    """
    if dispatch > begun:
        return Progress.WAITED
    return Progress.RAN if dispatch == begun else Progress.FINISHED


def verdict(
    how_far: Progress, *, deaths: int, idempotent: bool, shared: bool, timed_out: bool = False
) -> Verdict:
    """Return what becomes of a unit whose replica died.

    Args:
        how_far: how far its dispatch was.
        deaths: how often it was in a dispatch that died while it ran, this time included.
        idempotent: whether all stages of its group may run twice.
        shared: whether others were in its dispatch.
        timed_out: whether the replica was killed because a stage ran over its timeout.

    What only waited is nobody's fault and has changed nothing. Of a dispatch of several nobody knows which one hung, so
    they are tried alone as well.
    """
    if how_far is Progress.WAITED:
        return Verdict.AGAIN
    if timed_out and how_far is Progress.RAN and not (shared and idempotent):
        return Verdict.LATE
    if not idempotent:
        return Verdict.ENDED
    if how_far is Progress.FINISHED:
        return Verdict.AGAIN
    return Verdict.ALONE if deaths < DEATHS else Verdict.POISON
