"""Whether another plan fits into memory beside the one that serves."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

from regrain.errors import RequestError
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.policy.resident import PLAN, kept

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
MIB = 1 << 20


def memory_of(plan: Plan, manifest: Manifest, keeps: str = PLAN) -> int:
    """Return the bytes that a plan's replicas need by what the stages declare that they keep; no word counts 0."""
    return sum(group.replicas * memory_of_replica(group, manifest, keeps) for group in plan.groups)


def memory_of_replica(group: Group, manifest: Manifest, keeps: str = PLAN) -> int:
    """Return the bytes that one replica of a group needs."""
    stages = kept(keeps, group.stages, [stage.name for stage in manifest.stages])
    return sum(manifest.stage(name).memory for name in stages)


def free_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int:
    """Return the bytes that are free here: what the system has left, and no more than our cgroup has."""
    free = _field(meminfo, "MemAvailable:") * 1024
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    return free if limit is None or used is None else min(free, max(0, limit - used))


def no_room(needed: int, free: int) -> RequestError:
    """Return the error (409) of a change that does not fit, with both numbers; bytes."""
    detail = (
        f"both plans at once do not fit: the new one needs {needed // MIB} MiB, {free // MIB} MiB are free"
    )
    return RequestError(HTTPStatus.CONFLICT, detail)


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
