"""How many replicas a function has: within the bounds of its labels, by its load, and none while nobody asks for it.

The labels are OpenFaaS', and so is the formula: ceil(load / (target * proportion)), where the load is that of all
replicas together. More are wanted at once, fewer only when nothing within a window has wanted more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, get_args

from regrain.errors import SpecError
from regrain.units import parse_seconds, read_whole

PREFIX = "com.openfaas.scale."
MOST = 1000
"""Replicas that any function may have."""
WINDOW = 30.0
"""Seconds for which what was wanted counts, unless the label says otherwise."""
LONGEST_WINDOW = 300.0
LEAST_TARGET = 1e-3
"""Of a target and of the part of it that is aimed at; with less, the first request wants all replicas."""
SHOWN = 40
"""Characters that are told of a label that is refused."""
REST = 900.0
"""Seconds without a request after which a function that may go to zero does."""

Kind = Literal["rps", "capacity", "cpu"]
"""What load is: requests a second, requests under way, or thousandths of a core."""
TARGETS: Mapping[Kind, float] = {"rps": 5.0, "capacity": 50.0, "cpu": 50.0}
"""Load of one replica unless the label says otherwise: OpenFaaS' own, but for requests a second. There it is 50, and
in its community edition an alert adds replicas from 5 a second on, which is what its certifier wants to see."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a function does.

    rate: requests a second, over the last ten seconds or so. in_flight: requests under way, those that wait included.
    cpu: thousandths of a core, of all its processes. ready: replicas that serve. replicas: that are wanted by now,
    whoever wants them. idle: seconds since the last request, or since it was deployed.
    """

    rate: float
    in_flight: int
    cpu: float
    ready: int
    replicas: int
    idle: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What labels say of a function's replicas.

    Attributes:
        least, most: bounds of their number while there are any; where they are equal, load changes nothing.
        factor: percent of `most` that an alert adds; 0 for none.
        kind: what load is; None where something else than load chooses the number.
        target, proportion: load that a replica is to have, and the part of it that is aimed at.
        rest: seconds without a request after which there are none; inf for never.
        window: seconds for which what was wanted counts.
    """

    least: int = 1
    most: int = 20
    factor: int = 20
    kind: Kind | None = "rps"
    target: float = TARGETS["rps"]
    proportion: float = 0.9
    rest: float = math.inf
    window: float = WINDOW

    @classmethod
    def of(cls, labels: Mapping[str, str], *, adapts: bool = False) -> Self:
        """Read a function's labels; SpecError names the label and what it may be.

        A `min` of 0 counts as 1: whether there may be none is what `zero` says.

        adapts: the function chooses its replicas by itself, for the sake of its objective.
        """
        least = max(1, _whole(labels, "min", 1, range(MOST + 1)))
        kind = _kind(labels)
        zero = _is(labels, "zero")
        rest = _seconds(labels, "zero-duration", REST, least=1.0, most=math.inf)
        return cls(
            least=least,
            most=_whole(labels, "max", max(20, least), range(least, MOST + 1)),
            factor=_whole(labels, "factor", 20, range(101)),
            kind=None if adapts else kind,
            target=_number(labels, "target", TARGETS[kind], most=math.inf),
            proportion=_number(labels, "target-proportion", 0.9, most=1.0),
            rest=rest if zero else math.inf,
            window=_seconds(labels, "down.window", WINDOW, least=0.0, most=LONGEST_WINDOW),
        )

    def within(self, replicas: int) -> int:
        """Return the number within the bounds that is next to this one."""
        return min(max(replicas, self.least), self.most)

    def alerted(self, replicas: int, *, firing: bool) -> int:
        """Return the replicas after an alert: a step more while it fires, the least once it is resolved."""
        if not firing:
            return self.least
        step = math.ceil(self.most * self.factor / 100)
        return min(max(replicas + step, self.least), max(replicas, self.most))

    def desired(self, seen: Seen) -> int:
        """Return the replicas that a function's load wants, 0 to `most`.

        While replicas start they use a processor without serving; none is added because of that.
        """
        if self.kind is None:
            return seen.replicas
        load = {"rps": seen.rate, "capacity": float(seen.in_flight), "cpu": seen.cpu}[self.kind]
        found = math.ceil(min(load / (self.target * self.proportion), float(self.most)))
        starts = self.kind == "cpu" and seen.ready < seen.replicas
        return min(found, seen.replicas) if starts else found


class Scaler:
    """Scales one function.

    A number that somebody else has set, by hand or by an alert, counts as wanted at that moment, and what was wanted
    before it counts no more.

    Args:
        scaling: what its labels say.
    """

    def __init__(self, scaling: Scaling) -> None:
        self._scaling = scaling
        self._told: int | None = None
        self._wanted: deque[tuple[float, int]] = deque()
        """When how many were wanted: later ones are smaller, as those that a later one exceeds do not matter."""

    def decide(self, seen: Seen, now: float) -> int:
        """Return how many replicas a function is to have.

        now: seconds of a clock that does not go back.
        """
        limits = self._scaling
        if seen.replicas != self._told:
            self._wanted.clear()
            self._want(seen.replicas, now)
        self._want(limits.desired(seen), now)
        while self._wanted[0][0] < now - limits.window:
            self._wanted.popleft()
        if not seen.in_flight and (seen.replicas == 0 or seen.idle >= limits.rest):
            self._told = 0
        elif limits.least == limits.most:
            self._told = seen.replicas or limits.least
        else:
            self._told = limits.within(self._wanted[0][1])
        return self._told

    def _want(self, replicas: int, now: float) -> None:
        while self._wanted and self._wanted[-1][1] <= replicas:
            self._wanted.pop()
        self._wanted.append((now, replicas))


def _text(labels: Mapping[str, str], name: str) -> str:
    return labels.get(PREFIX + name, "").strip()


def _wrong(name: str, allowed: str, text: str) -> SpecError:
    return SpecError(f"labels.{PREFIX}{name}: {allowed}, was {text[:SHOWN]!r}")


def _whole(labels: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    text = _text(labels, name)
    if not text:
        return default
    found = read_whole(text, allowed)
    if found is None:
        raise _wrong(name, f"a whole number from {allowed.start} to {allowed.stop - 1}", text)
    return found


def _number(labels: Mapping[str, str], name: str, default: float, most: float) -> float:
    text = _text(labels, name)
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not LEAST_TARGET <= found <= most or math.isinf(found):
        limit = f"to {most:g}" if math.isfinite(most) else "on"
        raise _wrong(name, f"a number from {LEAST_TARGET:g} {limit}", text)
    return found


def _seconds(labels: Mapping[str, str], name: str, default: float, *, least: float, most: float) -> float:
    text = _text(labels, name)
    if not text:
        return default
    found = parse_seconds(text, f"labels.{PREFIX}{name}")
    if not least <= found <= most:
        limit = f" to {most:g} s" if math.isfinite(most) else " on"
        raise _wrong(name, f'a duration such as "15m" from {least:g} s{limit}', text)
    return found


def _kind(labels: Mapping[str, str]) -> Kind:
    text = _text(labels, "type") or "rps"
    for kind in get_args(Kind):
        if text == kind:
            return kind  # type: ignore[no-any-return]  # one of the literals
    raise _wrong("type", f"one of {', '.join(get_args(Kind))}", text)


def _is(labels: Mapping[str, str], name: str) -> bool:
    text = _text(labels, name).lower() or "false"
    if text not in ("true", "false"):
        raise _wrong(name, "true or false", text)
    return text == "true"
