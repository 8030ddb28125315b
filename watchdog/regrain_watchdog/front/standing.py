"""How an app stands at the moment, for metrics, status and the live page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from regrain.manifest import Manifest
from regrain.plan import Group
from regrain.wire.lease import Status
from regrain_watchdog.front.function import Function
from regrain_watchdog.front.measure import Gauges
from regrain_watchdog.front.pooled import leads
from regrain_watchdog.front.replica import Replica
from regrain_watchdog.front.segments import Pool

GUEST = "guest"
"""The state under which the metrics count replicas of other groups that stand in."""
ATTAINMENT = 0.95
"""The share of requests that should hit where a setting gives a latency and the app gave no objective."""


def gauges(functions: Sequence[Function], pool: Pool, gpus: Sequence[Status] = ()) -> Gauges:
    """Return what the metrics show of the moment."""
    replicas = Counter(
        (function.seat.name, replica.state.value if replica.home is function else GUEST)
        for function in leads(functions)
        for replica in function.replicas
    )
    return Gauges(
        queued={function.name: len(function) for function in functions},
        looping={function.name: int(function.is_looping) for function in functions},
        replicas=dict(replicas),
        memory_in_use=pool.in_use,
        memory_held=pool.held,
        memory_limit=pool.limit,
        gpus=gpus,
    )


def lacking(functions: Sequence[Function]) -> str:
    """Return what an app lacks to be ready, in one sentence; "" if nothing."""
    looping = [function.name for function in functions if function.is_looping and not function.is_serving]
    if looping:
        return f"crash-loop: replicas of {', '.join(looping)} end as soon as they start"
    cold = [function.name for function in functions if not function.is_serving]
    return f"no warm replica yet of: {', '.join(cold)}" if cold else ""


def warnings(functions: Sequence[Function], unready: str) -> list[str]:
    """Return what an operator should know: why the app is not ready, and groups that others alone keep alive."""
    looping = [function.name for function in functions if function.is_looping and function.is_serving]
    told = [f"replicas of {', '.join(looping)} end as soon as they start; others serve"] if looping else []
    return [unready, *told] if unready else told


def standings(functions: Sequence[Function]) -> list[dict[str, object]]:
    """Return what the status tells of each group of a plan."""
    return [_standing(function) for function in leads(functions)]


def _standing(function: Function) -> dict[str, object]:
    group, lanes = function.seat, function.together()
    return {
        "name": group.name,
        "stages": list(group.stages),
        "replicas": [_replica(function, replica) for replica in function.replicas],
        "pods": [{"url": peer.pod.url, "answers": peer.is_open} for peer in function.peers],
        "state": "crash-loop" if function.is_looping else "",
        "queue": sum(len(lane) for lane in lanes),
        "max_size": group.max_size,
        "max_wait": group.max_wait,
        "cpu": group.cpu,
        "gpu": _fraction(group),
        "lanes": [_lane(lane) for lane in lanes] if group.fluid is not None else [],
    }


def _lane(function: Function) -> dict[str, object]:
    """Return what the status tells of one stage of a fluid group."""
    group = function.group
    return {
        "stage": group.stages[0],
        "queue": len(function),
        "max_size": group.max_size,
        "gpu": _fraction(group),
    }


def _fraction(group: Group) -> float:
    if group.fluid is not None:
        return group.fluid.share
    return group.gpu.fraction if group.gpu is not None else 0.0


def _replica(function: Function, replica: Replica) -> dict[str, object]:
    """Return what the status tells of a replica; `guest`: it stands in until the group has its own."""
    return {
        "pid": replica.pid,
        "state": replica.state.value,
        "resident": sorted(replica.resident),
        "memory": replica.memory,
        "guest": replica.home.seat is not function.seat,
    }


def objective(manifest: Manifest, latency: float | None) -> dict[str, float] | None:
    """Return the objective in force, in seconds and as a share; None without one."""
    if latency is None:
        return None
    slo = manifest.slo
    return {"latency": latency, "attainment": slo.attainment if slo is not None else ATTAINMENT}
