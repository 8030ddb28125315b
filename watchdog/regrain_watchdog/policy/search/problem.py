"""What the planner is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import structs

from regrain.cards import Card
from regrain.errors import RegrainError, SpecError
from regrain.plan import Plan
from regrain_watchdog.policy.cost import Node, Prices, rate
from regrain_watchdog.policy.model import Application
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.profile import Profile, StageProfile
from regrain_watchdog.policy.service import ServiceTime

SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Of a GPU: those that models were measured on (related-systems' V100 profile)."""
SIZES = (1, 2, 4, 8, 16, 32)
STABLE = 0.97
"""Of its capacity, that a group may be given to do; beyond it queues grow for as long as anybody watches."""


class NoPlanError(RegrainError):
    """There is no plan at all: the node is too small, or nothing could be in time; the message says what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan may consist of.

    Attributes:
        shares: of a GPU, ascending.
        sizes: of a batch, ascending from 1; never more than the stages declare.
        waits: seconds for which a batch may wait to fill, ascending from 0.
        replicas: of a group, at most.
        grain: groups that are kept, in grain notation; "" where any grain is allowed.
        fluid: whether stages may share a pool of replicas.
        nodes: plans that the predictor is asked about at most; of two, the quick one.
        verified: plans that the sure one of two is asked about at most.
    """

    shares: tuple[float, ...] = SHARES
    sizes: tuple[int, ...] = SIZES
    waits: tuple[float, ...] = (0.0,)
    replicas: int = 64
    grain: str = ""
    fluid: bool = False
    nodes: int = 400
    verified: int = 80

    def __post_init__(self) -> None:
        _check("shares", self.shares, 0.0, 1.0)
        _check("sizes", self.sizes, 0.0, math.inf)
        _check("waits", self.waits, -1e-12, math.inf)
        if self.sizes[0] != 1 or self.waits[0] != 0.0:
            raise SpecError(f"sizes must begin with 1 and waits with 0, were {self.sizes} and {self.waits}")
        for name in ("replicas", "nodes", "verified"):
            if getattr(self, name) < 1:
                raise SpecError(f"{name} must be at least 1, was {getattr(self, name)}")


def _check(name: str, values: tuple[float, ...], above: float, most: float) -> None:
    if not values or list(values) != sorted(set(values)) or values[0] <= above or values[-1] > most:
        bound = f" and at most {most:g}" if most < math.inf else ""
        raise SpecError(
            f"{name} must ascend, be more than {max(above, 0):g}{bound}, and not be empty; were {values}"
        )


def measured_shares(stages: Iterable[StageProfile]) -> tuple[float, ...]:
    """Return the shares of a GPU that any of some stages was measured with, ascending: those that plans may give."""
    shares = {point.share for stage in stages if stage.on_gpu for point in stage.points}
    return tuple(sorted(share for share in shares if 0 < share <= 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An app on a node, at some prices, within some limits; the load comes apart, since it changes.

    Attributes:
        times: the service time of each stage, by name.
        beside: plans of other apps on the node, with their profiles, which are left the room that they take. It is read
            anew each time that plans are sought, so that it may change meanwhile.
    """

    app: Application
    node: Node
    prices: Prices
    limits: Limits
    times: Mapping[str, ServiceTime]
    beside: Sequence[tuple[Plan, Profile]] = ()

    @classmethod
    def of(
        cls, app: Application, node: Node, prices: Prices | None = None, limits: Limits | None = None
    ) -> Problem:
        """Ask about an app; ProfileError where its profile lacks stages."""
        app.profile.check({stage.name: stage.digest for stage in app.manifest.stages})
        times = {name: ServiceTime.of(name, app.profile.stages[name]) for name in app.graph.stages}
        return cls(app=app, node=node, prices=prices or Prices(), limits=limits or Limits(), times=times)

    @property
    def cores(self) -> tuple[float, ...]:
        """Cores that a replica may have, ascending: what the stages declare."""
        return tuple(sorted({stage.cpu for stage in self.app.manifest.stages}))

    def cost(self, plan: Plan) -> float:
        """Return the dollars a second of a plan."""
        return rate(plan, self.app.profile, self.prices, self.card)

    def priced(self, gpu: float, core: float) -> Prices:
        """Return the prices with those of GPU and core taken so many times: what is short is made dear."""
        price = self.prices.gpu or (self.card.price if self.card is not None else 0.0)
        return structs.replace(self.prices, gpu=price * gpu, core=self.prices.core * core)

    @property
    def card(self) -> Card | None:
        """The type of the node's GPUs, the first of them standing for all; None without any."""
        return self.node.cards[0] if self.node.cards else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A plan that was judged: what is expected of it, and the dollars a second that it costs."""

    plan: Plan
    prediction: Prediction
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The plan that was found to be the best.

    Attributes:
        plan: the cheapest of those that are expected to meet the objective; if none is, the one with the best hit rate.
        prediction: what is expected of it.
        cost: dollars a second.
        placement: by group, the GPU of each replica; nothing for a group that needs none.
        considered: every plan that was judged, in the order in which that was done.
        proven: whether every cheaper plan within the limits was judged, or could be seen not to meet the objective.
        nodes: plans that the predictor was asked about.
    """

    plan: Plan
    prediction: Prediction
    cost: float
    placement: tuple[tuple[int, ...], ...]
    considered: tuple[Candidate, ...]
    proven: bool
    nodes: int
