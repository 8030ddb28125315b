"""An app of three stages on GPUs with made-up costs, loads that arrive at it, and what a controller sees of them."""

import numpy as np
import pytest

from regrain.cards import Card
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain_watchdog.control.observation import Observation
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.cost import Node as Machine
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Application
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.profile import Point, Profile, StageProfile
from regrain_watchdog.policy.search.planner import Planner
from regrain_watchdog.policy.search.problem import Limits, Problem

WORK = {"read": 0.02, "look": 0.05, "say": 0.02}
SHARES = (0.1, 0.2, 0.3, 0.4, 0.6, 1.0)


def application(slo=0.5, *, slower=1.0, load=0.5):
    nodes = (
        Node("read", (Ref("$x"),)),
        Node("look", (Ref("read"),)),
        Node("say", (Ref("look"),)),
    )
    manifest = Manifest(
        app="made",
        stages=tuple(
            StageSpec(name=name, digest="", batched=True, max_size=4, gpu=GPUSpec(memory=GIB))
            for name in WORK
        ),
        graph=Graph(("x",), nodes, Ref("say")),
        parameters=(Parameter(name="x", kind="json"),),
        answer=Parameter(name="", kind="json"),
    )
    stages = {
        name: StageProfile(
            digest="",
            on_gpu=True,
            points=tuple(
                Point(size, 0.0, share, slower * seconds * (0.4 + 0.6 * size) * max(1.0, 0.3 / share))
                for share in SHARES
                for size in (1, 2, 4)
            ),
            load=load,
            weights=GIB // 4,
        )
        for name, seconds in WORK.items()
    }
    profile = Profile(app="made", stages=stages, context=GIB // 2, resident=1 << 26)
    return Application(manifest=manifest, profile=profile, slo=SLOSpec(latency=slo, attainment=0.95))


@pytest.fixture(scope="session")
def problem():
    """Ask about the app: `slower` so many times than measured, its stages `load` for so many seconds."""

    def ask(*, slower=1.0, load=0.5, **limits):
        node = Machine(
            cards=(Card(name="v100", sms=80, memory=16 * GIB, price=3.0),) * 2, cores=32.0, memory=64 * GIB
        )
        able = Limits(**{"shares": SHARES, "sizes": (1, 2, 4), "nodes": 60, **limits})
        return Problem.of(application(slower=slower, load=load), node, limits=able)

    return ask


@pytest.fixture(scope="session")
def arriving():
    """Let Poisson requests arrive at rates one after the other, each for some seconds."""

    def arrive(*phases, seed=1):
        rng, at, begin = np.random.default_rng(seed), [np.empty(0)], 0.0
        for rate, seconds in phases:
            at.append(np.sort(rng.uniform(begin, begin + seconds, rng.poisson(rate * seconds))))
            begin += seconds
        times = np.concatenate(at)
        return Arrivals(times, np.zeros(len(times)), np.zeros((len(times), 0), np.int32), begin)

    return arrive


@pytest.fixture(scope="session")
def planned(problem, arriving):
    """Plan for a rate."""

    def plan(rate, **limits):
        return Planner(problem(**limits)).plan(arriving((rate, 120.0), seed=7), Analytic()).plan

    return plan


@pytest.fixture(scope="session")
def seeing():
    """See a load second by second under a plan, all requests being in time but for a part of them."""

    def see(load, plan, *, missing=0.0, **standing):
        for now in range(1, int(load.span) + 1):
            first, last = np.searchsorted(load.at, (now - 1.0, float(now)))
            misses = int(missing * (last - first))
            yield Observation(
                now=float(now),
                at=load.at[first:last],
                size=load.size[first:last],
                first=int(first),
                widened=np.empty((0, 3), np.int64),
                hits=int(last - first) - misses,
                misses=misses,
                plan=plan,
                **standing,
            )

    return see
