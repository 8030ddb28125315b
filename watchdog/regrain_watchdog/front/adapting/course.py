"""The course of what was decided, as far as the live page shows it: a point for each decision."""

from __future__ import annotations

from collections import deque

import msgspec
from msgspec import Raw, Struct

from regrain.plan import Group, Plan

REMEMBERED = 240
"""Decisions that are shown: an hour of them at the usual period."""


class _Stands(Struct, frozen=True):
    """What of a plan that was judged is shown."""

    plan: Plan
    hit_rate: float | None = None
    per_thousand: float | None = None


class _Decision(Struct, frozen=True):
    """What of a decision is shown; the rest of it is the controller's own."""

    number: int
    present: _Stands
    plan: Plan | None = None
    candidates: tuple[_Stands, ...] = ()
    rate: float | None = None
    measured: float | None = None


class _Explained(Struct, frozen=True):
    """A decision, and what it would take to decide otherwise."""

    decision: Raw
    needs: tuple[str, ...] = ()


class Point(Struct, frozen=True, kw_only=True):
    """A decision as the page shows it.

    Attributes:
        at: unix seconds. grain: that rules from then on.
        predicted: its hit rate. per_thousand: dollars for a thousand requests.
        measured: hit rate of the plan that was in force. rate: requests a second that were expected.
        groups: of the plan that rules, with replicas, max_size, and gpu (a share) or cpu (cores).
    """

    at: float
    grain: str
    predicted: float | None
    measured: float | None
    per_thousand: float | None
    rate: float | None
    groups: tuple[dict[str, object], ...]


class Course:
    """What was decided last, and the decisions before.

    Attributes:
        number: of the last decision, by whoever made it, which counts from 1; 0 before any. heard: decisions so far.
    """

    def __init__(self) -> None:
        self._told = _Explained(Raw(b"null"))
        self._points: deque[Point] = deque(maxlen=REMEMBERED)
        self.number = self.heard = 0

    def add(self, explained: bytes, at: float) -> None:
        """Take in what the controller said of a decision at a time, unix seconds."""
        self._told = msgspec.json.decode(explained, type=_Explained)
        decision = msgspec.json.decode(self._told.decision, type=_Decision)
        stands = next((one for one in decision.candidates if one.plan == decision.plan), decision.present)
        self.number = decision.number
        self.heard += 1
        self._points.append(
            Point(
                at=at,
                grain=stands.plan.grain,
                predicted=stands.hit_rate,
                measured=decision.measured,
                per_thousand=stands.per_thousand,
                rate=decision.rate,
                groups=tuple(_group(group) for group in stands.plan.groups),
            )
        )

    @property
    def predicted(self) -> float | None:
        """The hit rate that is predicted of the plan that rules; None where nothing is known of it."""
        return self._points[-1].predicted if self._points else None

    def why(self) -> bytes:
        """Return the last decision, what it would take to decide otherwise, and the course of all, as JSON."""
        if not self.number:
            return b"{}"
        return msgspec.json.encode(
            {"decision": self._told.decision, "needs": self._told.needs, "course": list(self._points)}
        )


def _group(group: Group) -> dict[str, object]:
    share = (
        group.fluid.share if group.fluid is not None else group.gpu.fraction if group.gpu is not None else 0.0
    )
    return {
        "name": group.name,
        "replicas": group.replicas,
        "max_size": group.max_size,
        "gpu": share,
        "cpu": group.cpu,
    }
