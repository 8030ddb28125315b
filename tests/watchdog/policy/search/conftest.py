"""Apps with made-up costs, and a predictor that is simple, smooth and pure; what planners are tried on."""

import math

import numpy as np
import pytest

from regrain.cards import Card
from regrain.graph import Graph, Node, Ref
from regrain.manifest import GPUSpec, Manifest, Parameter, SLOSpec, StageSpec
from regrain_watchdog.policy.cost import GIB
from regrain_watchdog.policy.cost import Node as Machine
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import PER_REQUEST, Application, Model
from regrain_watchdog.policy.predict.predictor import Prediction
from regrain_watchdog.policy.profile import Point, Profile, StageProfile

SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)


class Rough:
    """Mean seconds along the longest path, queues as in M/M/R, and a logistic of what is left of the objective."""

    name = "rough"

    def __init__(self):
        self.asked = 0

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        self.asked += 1
        ends, busy = [], []
        for station in model.stations:
            pool = model.pools[station.pool]
            width = load.widths.mean(axis=0) if len(load) else np.ones(model.lists)
            items = 1.0 if station.scope == PER_REQUEST else float(width[station.scope])

            def seconds(units, station=station, width=width):
                return sum(
                    work.total(
                        units
                        if work.scope in (PER_REQUEST, station.scope)
                        else max(1, round(units * width[work.scope]))
                    )
                    for work in station.works
                )

            full = load.rate * items * seconds(station.max_size) / station.max_size / pool.servers
            rho = min(full, 0.999)
            rounds = math.ceil(items / (pool.servers * station.max_size))
            own = rounds * seconds(max(1, min(station.max_size, round(items / rounds))))
            wait = rho ** (math.sqrt(2 * (pool.servers + 1)) - 1) / pool.servers / (1 - rho) * own
            if full >= 1:
                wait = 1e3
            begin = max((ends[place] for place in station.after), default=0.0)
            ends.append(begin + own + wait + 0.3 * station.max_wait + station.hop)
            busy.append(full)
        end = max(ends)
        z = (model.slo - end) / (0.15 * model.slo)
        hit = 1 / (1 + math.exp(-max(-50.0, min(50.0, 3 * z))))
        return Prediction(hit_rate=hit, p50=end, p95=end, p99=end, busy=tuple(busy))


def manifest(parents, *, gpu, mapped=(), batch=8):
    nodes = []
    for place, above in enumerate(parents):
        args = tuple(Ref(f"s{one}") for one in above) or (Ref("$x"),)
        nodes.append(
            Node(f"s{place}", args[:1], {f"k{i}": ref for i, ref in enumerate(args[1:])}, place in mapped)
        )
    last = Ref(f"s{len(parents) - 1}")
    specs = tuple(
        StageSpec(
            name=f"s{place}",
            digest="",
            batched=gpu[place],
            max_size=batch if gpu[place] else 1,
            gpu=GPUSpec(memory=1 << 30) if gpu[place] else None,
        )
        for place in range(len(parents))
    )
    return Manifest(
        app="made",
        stages=specs,
        graph=Graph(("x",), tuple(nodes), last),
        parameters=(Parameter(name="x", kind="json"),),
        answer=Parameter(name="", kind="json"),
    )


def profile(work, knees, *, gpu, weights=GIB // 4, batch=8):
    stages = {}
    for place, (seconds, knee) in enumerate(zip(work, knees, strict=True)):
        shares = SHARES if gpu[place] else (1.0,)
        sizes = (1, 2, 4, batch) if gpu[place] else (1,)
        points = tuple(
            Point(
                size,
                0.0,
                share,
                seconds * (0.4 + 0.6 * size) * (max(1.0, knee / share) if gpu[place] else 1.0),
            )
            for share in shares
            for size in sizes
        )
        stages[f"s{place}"] = StageProfile(
            digest="", on_gpu=gpu[place], points=points, load=0.5, weights=weights, activation=1 << 20
        )
    return Profile(app="made", stages=stages, context=GIB // 2, resident=1 << 26)


def application(parents, work, knees, *, slo, gpu=None, mapped=(), weights=GIB // 4, attainment=0.95):
    gpu = gpu or [True] * len(parents)
    return Application(
        manifest=manifest(parents, gpu=gpu, mapped=mapped),
        profile=profile(work, knees, gpu=gpu, weights=weights),
        slo=SLOSpec(latency=slo, attainment=attainment),
    )


def requests(rate, *, lists=0, width=6, seconds=30.0, seed=1):
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, seconds, round(rate * seconds)))
    widths = rng.integers(1, 2 * width, (len(at), lists)).astype(np.int32)
    return Arrivals(at, np.zeros(len(at)), widths, seconds)


@pytest.fixture
def rough():
    return Rough()


@pytest.fixture
def make():
    """Make an app of stages that need these others, take these seconds on a whole GPU, and these shares of it."""
    return application


@pytest.fixture
def arriving():
    return requests


@pytest.fixture
def machine():
    def build(cards=2, cores=32.0, memory=64 * GIB, price=3.0):
        return Machine(
            cards=(Card(name="v100", sms=80, memory=16 * GIB, price=price),) * cards,
            cores=cores,
            memory=memory,
        )

    return build
