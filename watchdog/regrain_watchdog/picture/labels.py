"""What a picture says in words, the same in every medium."""

from __future__ import annotations

from regrain.manifest import Manifest, StageSpec
from regrain.plan import Group, Plan
from regrain_watchdog.words import cores, duration, size


def headline(manifest: Manifest, plan: Plan) -> tuple[str, str]:
    """Return the app's name, and its grain and objective in one line."""
    slo = manifest.slo
    objective = f"   ·   {slo.attainment * 100:g} % within {duration(slo.latency)}" if slo else ""
    return manifest.app, f"grain  {plan.grain}{objective}"


def needs(spec: StageSpec) -> str:
    """Return what a stage needs, such as "2 cores · GPU 1 GiB"."""
    gpu = f" · GPU {size(spec.gpu.memory)}" if spec.gpu and spec.gpu.memory else " · GPU" if spec.gpu else ""
    return cores(spec.cpu) + gpu


def batching(spec: StageSpec) -> str:
    """Return how a stage batches, such as "batch ≤ 32, 5 ms"; "" if it does not."""
    if not spec.batched:
        return ""
    return f"batch ≤ {spec.max_size}" + (f", {duration(spec.max_wait)}" if spec.max_wait else "")


def replicas(group: Group) -> str:
    """Return a group's number of replicas in words."""
    return "1 replica" if group.replicas == 1 else f"{group.replicas} replicas"
