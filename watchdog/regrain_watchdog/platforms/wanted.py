"""From an app's manifest and what is wished of it to a function. Pure.

Settings go as variables, which a replica reads, and with what the app itself says as annotations, which platforms and
people read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from regrain.errors import SpecError
from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain.plan import Plan
from regrain.units import parse_seconds, parse_switch
from regrain_watchdog.platforms import declared
from regrain_watchdog.platforms.function import Function, Protocol
from regrain_watchdog.platforms.gpu import Need


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is wished of a deployed app beyond what it says itself; what is "" or None is the app's own.

    Attributes: as of Function; and slo, a duration; grain, in its notation; adapt, "on" or "off".
        cpu, memory: of a replica in all, in place of what its stages declare; cores and bytes.
    """

    image: str
    name: str = ""
    slo: str = ""
    grain: str = ""
    adapt: Literal["", "on", "off"] = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    nodes: Mapping[str, str] = field(default_factory=dict)
    cpu: float | None = None
    memory: int | None = None
    least: int = 1
    most: int = 0
    target: int = 0
    concurrency: int = 0
    protocol: Protocol = "http"
    remote_key: str = ""


def function(manifest: Manifest, wishes: Wishes) -> Function:
    """Return an app as a function; SpecError names the wish that it cannot have."""
    named = {"REGRAIN_SLO": wishes.slo, "REGRAIN_GRAIN": wishes.grain, "REGRAIN_ADAPT": wishes.adapt}
    secrets = wishes.secrets
    if wishes.remote_key:
        named["REGRAIN_REMOTE_KEY_FILE"] = declared.secret(wishes.remote_key)
        secrets = tuple(dict.fromkeys((*secrets, wishes.remote_key)))
    environment = {**{name: text for name, text in named.items() if text}, **wishes.environment}
    grain = environment.get("REGRAIN_GRAIN") or manifest.grain
    annotations = _annotations(manifest, environment, grain)
    if wishes.remote_key:
        environment.pop("REGRAIN_ADAPT", None)  # the controller of all replicas adapts their plan
    plan = make_plan(manifest, grain)
    cpu = sum(group.cpu for group in plan.groups) if wishes.cpu is None else wishes.cpu
    if annotations.get(declared.ADAPT) == "on":
        largest = max(stage.cpu for stage in manifest.stages)  # with fewer there is no plan at all
        cores = math.ceil(max(1, cpu, largest))
        environment.setdefault("REGRAIN_CORES", str(cores))  # else each plans with all of its node's
    return Function(
        name=wishes.name or manifest.app,
        image=wishes.image,
        environment=environment,
        annotations=annotations,
        secrets=secrets,
        cpu=cpu,
        memory=sum(stage.memory for stage in manifest.stages) if wishes.memory is None else wishes.memory,
        gpu=_need(plan),
        nodes=wishes.nodes,
        least=wishes.least,
        most=wishes.most,
        target=wishes.target,
        concurrency=wishes.concurrency,
        protocol=wishes.protocol,
        remote_key=wishes.remote_key,
    )


def _annotations(manifest: Manifest, environment: Mapping[str, str], grain: str) -> dict[str, str]:
    """Return what holds, be it wished or the app's own."""
    slo = manifest.slo
    said = {
        declared.APP: manifest.app,
        declared.VERSION: manifest.digest,
        declared.SLO: _objective(environment.get("REGRAIN_SLO", ""), slo.latency if slo is not None else 0.0),
        declared.ATTAINMENT: f"{slo.attainment:g}" if slo is not None else "",
        declared.GRAIN: grain,
        declared.ADAPT: _switch(environment.get("REGRAIN_ADAPT", "")),
    }
    return {name: text for name, text in said.items() if text}


def _objective(wished: str, own: float) -> str:
    if wished and not parse_seconds(wished, "slo"):
        raise SpecError(f"slo: a duration over 0, was {wished!r}")
    return wished or (f"{own:g}s" if own else "")


def _switch(wished: str) -> str:
    """Return what platforms and the controller read; "" for what is not wished."""
    return wished and ("on" if parse_switch(wished, "adapt") else "off")


def _need(plan: Plan) -> Need | None:
    """Return what one replica of each group needs together: of one GPU, as a platform gives no part of two."""
    shares = [group.gpu for group in plan.groups if group.gpu is not None]
    if not shares:
        return None
    return Need(
        share=min(1.0, sum(share.fraction for share in shares)), memory=sum(share.memory for share in shares)
    )
