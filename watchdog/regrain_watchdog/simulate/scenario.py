"""One file that says which apps serve which load on which nodes: the simulator and the load generator read the same.

So what is simulated can be run live, with the same arrivals, sizes and bodies, and the two be held side by side. Every
setting is told in docs/load.md.
"""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from regrain.app import SLO
from regrain.cards import parse_gpus
from regrain.errors import SpecError
from regrain.manifest import SLOSpec
from regrain.units import is_number, parse_bytes
from regrain_watchdog.policy.cost import Node, Prices
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.resident import PLAN
from regrain_watchdog.policy.search.problem import Limits
from regrain_watchdog.simulate import tables
from regrain_watchdog.simulate.arrivals import (
    MMPP,
    Diurnal,
    OnOff,
    Phase,
    Poisson,
    Process,
    Replay,
    sequence,
)
from regrain_watchdog.simulate.sizes import Column, Distribution, Fixed, Geometric, Lognormal, Uniform

PROCESSES: tuple[type[Process], ...] = (Poisson, MMPP, OnOff, Diurnal, Replay)
DISTRIBUTIONS: tuple[type[Distribution], ...] = (Fixed, Lognormal, Geometric, Uniform, Column)
PREDICTORS = ("verified", "analytic", "simulated", "learned")
WAYS = ("each", "joint")
LIMITS = tuple(field.name for field in fields(Limits))
OBJECTIVE = tuple(field.name for field in fields(SLO))
HABITS = ("predictor", "period", "limits")
"""Settings that are for apps whose plan is adapted."""
SEEDS = 1 << 64
"""So many seeds there are, from 0 on: the simulator's own generator has 64 bits."""
LARGEST = 1 << 30
"""Bytes that a request may have: a front takes 64 MiB unless told otherwise."""
WIDEST = 1_000_000
"""Items that a list may have."""


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that is sent as it is.

    Attributes:
        file: relative to the scenario. content_type: "" for what its name says.
        widths: items of each list that the app's flow makes of it.
        weight: how often it comes beside the others, where no `sizes` choose among them.
    """

    file: str
    content_type: str = ""
    widths: tuple[int, ...] = ()
    weight: float = 1.0


class AppScenario(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One app and its load.

    Attributes:
        module: the app, as `regrain run` takes it. manifest: a file that `regrain_runtime describe` wrote, instead.
        profile: a file that `regrain profile` wrote.
        slo: instead of the app's own.
        plan: a file with the plan as JSON. grain, replicas, shares: as `regrain run` takes them, where there is none.
        node: that it is on, by name, where there are several.
        resident: which stages its replicas keep loaded, as `regrain run` takes it.
        adapt: whether the plan is changed by a controller, which begins with the one given. predictor, period: of that.
        limits: on the plans that it may choose; None for those that a live one has.
        url: where it is served, for the load generator.
        load: a process for the whole duration, or phases one after the other.
        sizes: of requests, in bytes. widths: of each list that the app's flow maps over.
        bodies: files to send; sizes choose the one nearest to them.
        body: text to send, in which $size, $width0, $width1 and so on, and $filler (as many letters as make the body
            `size` bytes long) are filled in. content_type: of it.
    """

    module: str = ""
    manifest: str = ""
    profile: str = ""
    slo: SLOSpec | None = None
    plan: str = ""
    grain: str = ""
    replicas: str = ""
    shares: str = ""
    node: str = ""
    resident: str = PLAN
    adapt: bool = False
    predictor: str = PREDICTORS[0]
    period: float = 15.0
    limits: Limits | None = None
    url: str = ""
    load: tuple[Phase, ...]
    sizes: Distribution | None = None
    widths: tuple[Distribution, ...] = ()
    bodies: tuple[Body, ...] = ()
    body: str = ""
    content_type: str = "application/json"


class Shared(Struct, frozen=True, kw_only=True):
    """A node.

    Attributes:
        node: what its apps share.
        plans: whether each of those that adapt plans for itself ("each"), or one controller for all ("joint").
    """

    node: Node
    plans: str = WAYS[0]


class Scenario(Struct, frozen=True, kw_only=True):
    """Apps on nodes, and their loads.

    Attributes:
        seed: equal seeds give equal loads.
        duration: seconds.
        nodes: by name; the only one may have none. prices: of what they have.
        apps: by name; each is on one of the nodes.
    """

    seed: int
    duration: float
    nodes: dict[str, Shared]
    prices: Prices
    apps: dict[str, AppScenario]

    def node_of(self, app: str) -> Node:
        """Return the node that an app is on."""
        return self.nodes[self.apps[app].node].node


class Offered(Struct, frozen=True, eq=False):
    """What an app is offered: its requests, and of each the place of its body in `bodies` (-1 where it has none)."""

    arrivals: Arrivals
    bodies: NDArray[np.int64]


def read(path: Path) -> Scenario:
    """Read a scenario; SpecError names the setting that is wrong and what is allowed."""
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is no TOML: {error}") from error
    try:
        return _scenario(tables.resolved(raw, path.parent))
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def offered(scenario: Scenario, name: str) -> Offered:
    """Draw what an app is offered; SpecError where a trace does not hold it, or a request is larger than any may be."""
    app = scenario.apps[name]
    rng = np.random.default_rng([scenario.seed, zlib.crc32(name.encode())])
    times = sequence(app.load, rng)
    count = len(times.at)
    sizes = app.sizes.draw(times, rng) if app.sizes is not None else None
    widths = np.zeros((count, len(app.widths)), dtype=np.int32)
    for place, width in enumerate(app.widths):
        drawn = width.draw(times, rng)
        _check_most(drawn, WIDEST, f"apps.{name}.widths[{place}]: items of a list")
        widths[:, place] = np.rint(drawn)
    chosen = np.full(count, -1)
    if app.bodies:
        lengths = np.array([Path(body.file).stat().st_size for body in app.bodies], dtype=np.float64)
        chosen = _chosen(app, lengths, sizes, count, rng)
        sizes = lengths[chosen]
        widths = np.array([body.widths for body in app.bodies], dtype=np.int32)[chosen]
    sizes = np.zeros(count) if sizes is None else sizes
    _check_most(sizes, LARGEST, f"apps.{name}: bytes of a request")
    span = sum(phase.seconds for phase in app.load)
    return Offered(Arrivals(times.at, sizes, widths, span), chosen)


def notes(scenario: Scenario) -> list[str]:
    """Return what is to be known of the traces that a scenario replays: gaps, for one."""
    traces = [
        phase.process.trace
        for app in scenario.apps.values()
        for phase in app.load
        if isinstance(phase.process, Replay)
    ]
    return [f"{trace.file}: {note}" for trace in traces for note in trace.read().notes]


def _check_most(values: NDArray[np.float64], most: int, what: str) -> None:
    largest = float(values.max(initial=0.0))
    if not largest <= most:
        raise SpecError(f"{what} must be at most {most}, were {largest:.10g}")


def _chosen(
    app: AppScenario,
    lengths: NDArray[np.float64],
    sizes: NDArray[np.float64] | None,
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return which body each request has: the nearest to its size, or one drawn by weight."""
    if sizes is not None:
        return np.asarray(np.abs(sizes[:, None] - lengths).argmin(axis=1), dtype=np.int64)
    weights = np.array([body.weight for body in app.bodies])
    return rng.choice(len(weights), count, p=weights / weights.sum())


def _scenario(raw: dict[str, object]) -> Scenario:
    tables.check_keys(raw, ("seed", "duration", "node", "prices", "apps"), "the scenario")
    duration = raw.get("duration")
    if not isinstance(duration, int | float) or not is_number(duration) or duration <= 0:
        raise SpecError(f'duration must be more than 0 seconds, or like "60s"; was {duration!r}')
    apps = raw.get("apps")
    if not isinstance(apps, dict) or not apps:
        raise SpecError("apps must hold a table for each app, such as [apps.ocr]")
    seed = raw.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise SpecError(f"seed must be a whole number, 0 or more and less than 2**64; was {seed!r}")
    nodes = _nodes(raw.get("node", {}))
    return Scenario(
        seed=seed,
        duration=float(duration),
        nodes=nodes,
        prices=_prices(raw.get("prices", {})),
        apps={name: _app(app, f"apps.{name}", float(duration), nodes) for name, app in apps.items()},
    )


def _prices(raw: object) -> Prices:
    prices = tables.one_of((Prices,), raw, "prices")
    for name in Prices.__struct_fields__:
        price = getattr(prices, name)
        if not is_number(price) or price < 0:
            raise SpecError(f"prices.{name} must be dollars, 0 or more; was {price:g}")
    return prices


def _nodes(raw: object) -> dict[str, Shared]:
    """Return nodes by name, of a table for each; or the only one, which needs no name."""
    table = tables.entries(raw, "node")
    if table and all(isinstance(value, dict) for value in table.values()):
        return {name: _shared(value, f"node.{name}") for name, value in table.items()}
    return {"": _shared(table, "node")}


def _shared(raw: object, where: str) -> Shared:
    table = tables.entries(raw, where)
    tables.check_keys(table, ("gpus", "cores", "memory", "plans"), where)
    gpus, memory, plans = table.pop("gpus", ""), table.pop("memory", None), table.pop("plans", WAYS[0])
    if not isinstance(gpus, str) or not isinstance(memory, str | int | None):
        raise SpecError(f'{where}: gpus must be like "emulated:v100x2", memory like "16Gi"; was {raw!r}')
    if plans not in WAYS:
        raise SpecError(f"{where}.plans must be one of {', '.join(WAYS)}; was {plans!r}")
    node = tables.one_of((Node,), table, where)
    if not node.cores >= 0:
        raise SpecError(f"{where}.cores must be 0 or more, was {node.cores:g}")
    cards = parse_gpus(gpus) if gpus else ()
    bytes_ = node.memory if memory is None else parse_bytes(memory, f"{where}.memory")
    return Shared(node=msgspec.structs.replace(node, cards=cards, memory=bytes_), plans=str(plans))


def _app(raw: object, where: str, duration: float, nodes: Mapping[str, Shared]) -> AppScenario:
    table = tables.entries(raw, where)
    tables.check_keys(table, AppScenario.__struct_fields__, where)
    made: dict[str, object] = {"load": _phases(table.pop("load", None), f"{where}.load", duration)}
    if "limits" in table:
        made["limits"] = tables.value(Limits, LIMITS, table["limits"], f"{where}.limits")
    if "slo" in table:
        made["slo"] = _slo(table.pop("slo"), f"{where}.slo")
    if "sizes" in table:
        made["sizes"] = tables.one_of(DISTRIBUTIONS, table.pop("sizes"), f"{where}.sizes")
    for key, kinds in (("widths", DISTRIBUTIONS), ("bodies", (Body,))):
        made[key] = tuple(
            tables.one_of(kinds, entry, f"{where}.{key}[{place}]")
            for place, entry in enumerate(tables.several(table.pop(key, []), f"{where}.{key}"))
        )
    node = table.setdefault("node", next(iter(nodes)) if len(nodes) == 1 else "")
    if not isinstance(node, str) or node not in nodes:
        raise SpecError(f"{where}.node must be one of {', '.join(map(repr, nodes))}; was {node!r}")
    app = msgspec.structs.replace(tables.one_of((AppScenario,), {**table, "load": []}, where), **made)
    _check_app(app, where)
    _check_habits(app, [name for name in HABITS if name in table], where)
    return app


def _check_habits(app: AppScenario, given: Sequence[str], where: str) -> None:
    if given and not app.adapt:
        raise SpecError(f"{where}: {given[0]} is for apps that adapt: adapt = true")
    if app.predictor not in PREDICTORS:
        raise SpecError(f"{where}.predictor must be one of {', '.join(PREDICTORS)}; was {app.predictor!r}")
    if not is_number(app.period) or app.period <= 0:
        raise SpecError(f"{where}.period must be more than 0 seconds, was {app.period:g}")


def _slo(raw: object, where: str) -> SLOSpec:
    if not isinstance(raw, dict):
        raise SpecError(f'{where} must be like {{latency = "1s", attainment = 0.95}}; was {raw!r}')
    slo = tables.value(SLO, OBJECTIVE, raw, where)
    return SLOSpec(latency=slo.latency, attainment=slo.attainment)


def _check_app(app: AppScenario, where: str) -> None:
    if bool(app.module) == bool(app.manifest):
        raise SpecError(f"{where} must have a module or a manifest, and not both")
    if app.bodies and (app.widths or app.body):
        raise SpecError(
            f"{where}: bodies bring their own widths; leave out {'widths' if app.widths else 'body'}"
        )
    if app.plan and (app.grain or app.replicas or app.shares):
        raise SpecError(f"{where}: a plan has its own grain, replicas and shares; leave those out")
    _check_bodies(app.bodies, f"{where}.bodies")


def _check_bodies(bodies: Sequence[Body], where: str) -> None:
    if len({len(body.widths) for body in bodies}) > 1:
        raise SpecError(f"{where} must all have as many widths")
    weights = [body.weight for body in bodies]
    if not (all(weight > 0 for weight in weights) and is_number(sum(weights))):
        raise SpecError(f"{where}: weights must be numbers above 0")
    for body in bodies:
        if not all(0 <= width <= WIDEST for width in body.widths):
            raise SpecError(f"{where}: widths must be from 0 to {WIDEST} items, were {list(body.widths)}")
        if not Path(body.file).is_file():
            raise SpecError(f"{where}: there is no file {body.file}")


def _phases(raw: object, where: str, duration: float) -> tuple[Phase, ...]:
    if isinstance(raw, dict):
        return (Phase(duration, tables.one_of(PROCESSES, raw, where)),)
    phases = []
    for place, entry in enumerate(tables.several(raw, where)):
        table = tables.entries(entry, f"{where}[{place}]")
        seconds = table.pop("seconds", None)
        if not isinstance(seconds, int | float) or not is_number(seconds) or seconds <= 0:
            raise SpecError(f"{where}[{place}].seconds must be more than 0, was {seconds!r}")
        phases.append(Phase(float(seconds), tables.one_of(PROCESSES, table, f"{where}[{place}]")))
    total = sum(phase.seconds for phase in phases)
    if not phases or abs(total - duration) > 1e-6:
        raise SpecError(
            f"{where} must be a table, or phases that last {duration:g} seconds together; was {total:g}"
        )
    return tuple(phases)
