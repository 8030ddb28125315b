"""What a running app reserves, seen from outside once in a while, times its price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from regrain.cards import Card
from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.load.report import Spending
from regrain_watchdog.policy import cost
from regrain_watchdog.policy.cost import Prices
from regrain_watchdog.policy.profile import Profile, StageProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A group as it runs.

    Attributes:
        stages: of it. max_size: units of a dispatch at most.
        replicas: that it has, those that start or end included.
        cpu: cores of each. gpu: share of each, 0 without one. memory: bytes that they hold together.
        lanes: of a fluid group, whose replicas have the share together.
    """

    stages: tuple[str, ...]
    max_size: int
    replicas: int
    cpu: float
    gpu: float
    memory: int
    lanes: tuple[Lane, ...] = ()


@dataclass(slots=True)
class Meter:
    """Takes down what an app reserves.

    Attributes:
        prices: by which it is paid for.
        card: the type of the node's GPUs; None where that is not known.
        profile: the app's; None where there is none. Then replicas are priced by the memory that they are seen to hold.
        at, rates: seconds, and dollars a second from then on.
        grains: (second, grain) of each that was seen.
        lacking: why the cost is not known; "" if it is.
    """

    prices: Prices
    card: Card | None
    profile: Profile | None
    at: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    grains: list[tuple[float, str]] = field(default_factory=list)
    lacking: str = "no running app told what it reserves"

    def take(self, at: float, grain: str, groups: Sequence[Held]) -> None:
        """Take down what is reserved at a second; nothing need be known of a group that has no replicas."""
        if not self.grains or self.grains[-1][1] != grain:
            self.grains.append((at, grain))
        groups = [group for group in groups if group.replicas]
        unknown = [
            stage
            for group in groups
            for stage in group.stages
            if self.profile and stage not in self.profile.stages
        ]
        if unknown:
            self.lacking = f"the profile lacks stage {unknown[0]}"
        elif not self._has_price and any(self._is_on_gpu(group) for group in groups):
            kind = f" ({self.card.name})" if self.card is not None else ""
            self.lacking = (
                f"the price of its GPUs{kind} is not known: say it in a scenario, as gpu under [prices]"
            )
        else:
            self.lacking = ""
            self.at.append(at if self.at else 0.0)
            self.rates.append(sum(self._rate(group) for group in groups))

    @property
    def spending(self) -> Spending | None:
        """What was reserved over time; None where it is not known for all of it."""
        return None if self.lacking else Spending(at=self.at, rate=self.rates, request=self.prices.request)

    @property
    def _has_price(self) -> bool:
        return self.card is not None and (self.prices.gpu or self.card.price) > 0

    def _is_on_gpu(self, held: Held) -> bool:
        """Whether a group is known to have a GPU, or may have one: not where its stages were profiled on the CPU."""
        if not held.gpu or self.card is not None or self.profile is None:
            return held.gpu > 0
        return any(self.profile.stages[stage].on_gpu for stage in held.stages)

    def _rate(self, held: Held) -> float:
        group = Group(
            stages=held.stages,
            replicas=held.replicas,
            max_size=held.max_size,
            cpu=held.cpu,
            gpu=GpuShare(fraction=held.gpu) if held.gpu else None,
            fluid=Fluid(share=held.gpu, lanes=held.lanes) if held.lanes else None,
        )
        profile = self.profile or Profile(
            app="",
            stages={stage: StageProfile(digest="", points=(), on_gpu=held.gpu > 0) for stage in held.stages},
            resident=held.memory // held.replicas,
        )
        return cost.rate(Plan((group,)), profile, self.prices, self.card)
