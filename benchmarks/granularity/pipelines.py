"""Pipelines as apps with two costs: what the emulated GPUs really take, and what a profile says that they take.

The truth is off by a lasting drift of each stage, other for each cell and day, that no profile saw. Policies are handed
`believed` and nothing else; whoever is handed a `World` can judge, and must not plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.granularity.protocol import GEOMETRIC, ListLaw, Pipeline, Protocol, StageLaw
from regrain.cards import CARDS, Card
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain.units import parse_bytes
from regrain_runtime.emulated.models import model_named
from regrain_watchdog.policy.cost import Node as Machine
from regrain_watchdog.policy.cost import Prices
from regrain_watchdog.policy.model import Application
from regrain_watchdog.policy.profile import Hop, Point, Profile, StageProfile
from regrain_watchdog.policy.refine import Refined
from regrain_watchdog.policy.search.problem import Limits, Problem
from regrain_watchdog.policy.service import ServiceTime

Times = Mapping[str, ServiceTime]
VGPU, WIDE = 0.15, 0.95
"""ESG's one vGPU, about a seventh of a card; and the quantile of the width by which objectives are told."""
LEAST_SHARE, FULL = 0.15, 4
"""The least share, and the batch, at which the node's capacity is told."""
MEASURED_SEED = 1
"""Of what was measured: one profile was taken."""
RESIDENT = 256 << 20
START = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One of the protocol's settings of what surrounds a pipeline; ablations change it."""

    shares: tuple[float, ...]
    cards: int
    batches: tuple[int, ...]
    waits: tuple[float, ...]
    hop: float
    load_start: float
    weights: float = 1.0
    interference: float = 0.0

    @classmethod
    def of(cls, protocol: Protocol, *, shares: str = "free", cards: int = 2) -> Setting:
        return cls(
            shares=protocol.planner.shares[shares],
            cards=cards,
            batches=protocol.planner.batches,
            waits=protocol.planner.waits,
            hop=protocol.truth.hop,
            load_start=protocol.truth.load_start,
            interference=protocol.truth.interference,
        )

    def ablated(self, protocol: Protocol, changes: Mapping[str, object]) -> Setting:
        """Return it with one thing changed; `shares` by their name in the protocol."""
        given = dict(changes)
        if isinstance(given.get("shares"), str):
            given["shares"] = protocol.planner.shares[str(given["shares"])]
        if "batches" in given:
            given["batches"] = tuple(given["batches"])
        return replace(self, **given)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Offer:
    """All that a policy may know: the app with its profile, the node, the prices and the limits."""

    app: Application
    node: Machine
    prices: Prices
    limits: Limits


class World:
    """A pipeline in a setting: what policies are offered of it, and the truth."""

    def __init__(self, protocol: Protocol, name: str, setting: Setting) -> None:
        self.protocol = protocol
        self.pipeline = protocol.pipeline_named(name)
        self.setting = setting
        self._manifest = manifest(self.pipeline, max(setting.batches))
        self._profile = _profile(protocol, self.pipeline, setting)
        self._solo = {stage.name: _solo(stage, setting) for stage in self.pipeline.stages}

    def offer(self, slo: float, profile: Profile | None = None) -> Offer:
        """Return what policies get; `slo` in seconds; `profile` as it was refined, by default as it was measured."""
        return Offer(
            app=Application(
                manifest=self._manifest,
                profile=profile or self._profile,
                slo=SLOSpec(latency=slo, attainment=self.protocol.slo.attainment),
            ),
            node=Machine(
                cards=(self.card,) * self.setting.cards,
                cores=self.protocol.planner.cores,
                memory=parse_bytes(self.protocol.planner.memory, "planner.memory"),
            ),
            prices=Prices(
                core=self.protocol.prices.core,
                memory=self.protocol.prices.memory,
                gpu=self.protocol.prices.gpu,
                request=self.protocol.prices.request,
            ),
            limits=Limits(
                shares=self.setting.shares,
                sizes=self.setting.batches,
                waits=self.setting.waits,
                replicas=self.protocol.planner.replicas,
            ),
        )

    @property
    def card(self) -> Card:
        return CARDS[self.protocol.truth.card]

    def truth(self, seed: int) -> Times:
        """Return the service times that rule under the drift of one seed."""
        law = self.protocol.truth
        found = {}
        for place, stage in enumerate(self.pipeline.stages):
            shares, batches, seconds = self._solo[stage.name]
            drift = np.random.default_rng((seed, place, 1)).uniform(-law.drift, law.drift)
            found[stage.name] = ServiceTime(
                stage=stage.name,
                shares=shares,
                sizes=np.zeros(1),
                batches=batches,
                seconds=(seconds * (1 + drift))[:, None, :],
                cv=law.jitter if stage.model else law.cpu_jitter,
            )
        return found

    def true(self, slo: float, times: Times) -> Problem:
        """Return the problem as it is in truth; not for policies."""
        offer = self.offer(slo)
        return Problem(app=offer.app, node=offer.node, prices=offer.prices, limits=offer.limits, times=times)

    def refined(self) -> Refined:
        """Return the profile as one that goes on learning."""
        return Refined(self._profile, {stage.name: stage.max_size for stage in self._manifest.stages})

    def warm_latency(self) -> float:
        """Return L, the latency that objectives are multiples of: seconds of one wide request alone on one vGPU."""
        wide = {name: quantile(law, WIDE) for name, law in self.pipeline.lists.items()}
        return sum(self._alone(stage, wide[stage.map] if stage.map else 1) for stage in self.pipeline.stages)

    def capacity(self) -> float:
        """Return the requests a second that the node's cards bear at best, as the protocol defines it."""
        work = 0.0
        for stage in self.pipeline.stages:
            if not stage.model:
                continue
            model = model_named(stage.model)
            units = mean(self.pipeline.lists[stage.map]) if stage.map else 1.0
            shares = [share for share in model.shares if share >= LEAST_SHARE - 1e-9]
            work += units * min(share * model.time(FULL, share) * stage.scale / FULL for share in shares)
        return self.setting.cards / work

    def _alone(self, stage: StageLaw, units: int) -> float:
        if not stage.model:
            return units * stage.seconds
        return units * model_named(stage.model).time(1, VGPU) * stage.scale


def manifest(pipeline: Pipeline, most: int) -> Manifest:
    """Return a pipeline as an app; lists are inputs of it, and stages that map over one hand its items on."""
    nodes, specs = [], []
    walked: dict[str, str] = {}
    for place, stage in enumerate(pipeline.stages):
        above = (
            stage.after
            if stage.after is not None
            else tuple(one.name for one in pipeline.stages[max(0, place - 1) : place])
        )
        args: tuple[Ref, ...] = tuple(Ref(one) for one in above) or (Ref("$request"),)
        if stage.map:
            maker = walked.get(stage.map, "")
            args = (Ref(maker),) if maker else tuple(Ref(one, (stage.map,)) for one in above)
            walked[stage.map] = stage.name
        nodes.append(
            Node(stage.name, args[:1], {f"more{i}": one for i, one in enumerate(args[1:])}, bool(stage.map))
        )
        specs.append(
            StageSpec(
                name=stage.name,
                digest="",
                batched=bool(stage.model),
                max_size=most if stage.model else 1,
                gpu=GPUSpec() if stage.model else None,
            )
        )
    return Manifest(
        app=pipeline.name,
        stages=tuple(specs),
        graph=Graph(("request",), tuple(nodes), Ref(pipeline.stages[-1].name)),
        parameters=(Parameter(name="request", kind="json"),),
        answer=Parameter(name="", kind="json"),
    )


def probabilities(law: ListLaw) -> NDArray[np.float64]:
    """Return (most + 1,) the probability of each number of items."""
    items = np.arange(law.most + 1)
    if law.law == GEOMETRIC:
        found = np.where(items > 0, (1 - 1 / law.mean) ** (items - 1) / law.mean, 0.0)
        found[-1] = 1.0 - found[:-1].sum()
        return found
    inside = (items >= law.least).astype(float)
    uniform: NDArray[np.float64] = inside / inside.sum()
    return uniform


def mean(law: ListLaw) -> float:
    """Return the mean number of items."""
    return float(probabilities(law) @ np.arange(law.most + 1))


def quantile(law: ListLaw, level: float) -> int:
    """Return a quantile of the number of items."""
    return int(np.searchsorted(np.cumsum(probabilities(law)), level))


def _solo(
    stage: StageLaw, setting: Setting
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return shares, batches and (shares, batches) seconds of a stage that runs alone, without drift."""
    if not stage.model:
        return np.ones(1), np.ones(1), np.full((1, 1), stage.seconds)
    model = model_named(stage.model)
    batches = np.arange(1, max(setting.batches) + 1)
    seconds = [[model.time(int(batch), share) * stage.scale for batch in batches] for share in setting.shares]
    return np.array(setting.shares), batches.astype(float), np.array(seconds)


def _profile(protocol: Protocol, pipeline: Pipeline, setting: Setting) -> Profile:
    """Return what `regrain profile` would have measured: means of jittered calls, without the drift that came after."""
    law, stages = protocol.truth, {}
    for place, stage in enumerate(pipeline.stages):
        rng = np.random.default_rng((MEASURED_SEED, place, 2))
        shares, batches, seconds = _solo(stage, setting)
        cv = law.jitter if stage.model else law.cpu_jitter
        sigma = float(np.sqrt(np.log1p(cv**2)))
        points = []
        for row, share in enumerate(shares):
            for column, batch in enumerate(batches):
                if stage.model and batch not in setting.batches:
                    continue
                calls = seconds[row, column] * rng.lognormal(-(sigma**2) / 2, sigma, law.measured_calls)
                spread = float(calls.std(ddof=1) / calls.mean())
                points.append(
                    Point(int(batch), 0.0, float(share), float(calls.mean()), spread, law.measured_calls)
                )
        weights = int(model_named(stage.model).weights * setting.weights) if stage.model else 0
        stages[stage.name] = StageProfile(
            digest="",
            on_gpu=bool(stage.model),
            points=tuple(points),
            load=setting.load_start + weights / 1e9 if stage.model else 0.0,
            weights=weights,
            activation=parse_bytes(law.activation, "truth.activation") if stage.model else 0,
        )
    return Profile(
        app=pipeline.name,
        device=law.card,
        stages=stages,
        hop=Hop(setting.hop),
        context=parse_bytes(law.context, "truth.context"),
        resident=RESIDENT,
        start=START,
    )
