"""Whether a node holds an app at all: one replica of each group of the smallest plan; says what is missing if not."""

from __future__ import annotations

from regrain.grain import parse
from regrain_watchdog.policy.cost import memory
from regrain_watchdog.policy.search.options import Option, Space
from regrain_watchdog.policy.search.packing import gpu_parts, shortage
from regrain_watchdog.policy.search.partition import bits
from regrain_watchdog.policy.search.problem import NoPlanError


def check_room(space: Space) -> None:
    """Raise NoPlanError where some stage finds no room on the node even as the only one."""
    problem = space.problem
    for place, name in enumerate(space.dag.stages):
        kind = space.kind(1 << place)
        if kind is None:
            _refuse_unmeasured(space, place)
            continue
        group = space.group(1 << place, Option(kind.levels[0], 1, 0.0, 1))
        held = memory(group, problem.app.profile)
        if held > problem.node.memory:
            raise NoPlanError(
                f"stage {name} needs {held >> 20} MiB of memory, the node has {problem.node.memory >> 20}"
            )
        if group.cpu > problem.node.cores:
            raise NoPlanError(f"stage {name} needs {group.cpu:g} cores, the node has {problem.node.cores:g}")
        for part in gpu_parts(group, problem.app.profile):
            largest = max(card.memory for card in problem.node.cards)
            if part.memory > largest:
                raise NoPlanError(
                    f"stage {name} needs {part.memory >> 20} MiB of a GPU, the node's largest has {largest >> 20}"
                )


def lacking(space: Space) -> str:
    """Return what the node lacks for the smallest plan, whose stages each fit alone; as a phrase."""
    problem = space.problem
    kept = space.dag.masks(parse(problem.limits.grain or "coarse", space.problem.app.graph))
    masks = kept if all(space.kind(mask) for mask in kept) else [1 << stage for stage in bits(space.dag.all)]
    groups = [
        space.group(mask, Option(kind.levels[0], 1, 0.0, 1))
        for mask in masks
        if (kind := space.kind(mask)) is not None
    ]
    short = shortage([(group, problem.app.profile) for group in groups], problem.node)
    parts = [part for group in groups for part in gpu_parts(group, problem.app.profile)]
    wanted = ", ".join(f"{part.floor:g} with {part.memory >> 20} MiB" for part in parts)
    held = ", ".join(f"{card.memory >> 20} MiB" for card in problem.node.cards)
    return (
        f"its smallest needs {short}" if short else f"its smallest needs {wanted} of GPUs, which have {held}"
    )


def _refuse_unmeasured(space: Space, stage: int) -> None:
    name = space.dag.stages[stage]
    if space.on_gpu(stage) and not space.problem.node.cards:
        raise NoPlanError(f"stage {name} needs a GPU, the node has none")
    measured = space.problem.times[name].shares
    known = f"stage {name} was measured with {measured[0]:g} to {measured[-1]:g}"
    if not space.on_gpu(stage):
        raise NoPlanError(f"{known} cores; it declares {space.spec(stage).cpu:g}")
    allowed = ", ".join(f"{share:g}" for share in space.problem.limits.shares)
    raise NoPlanError(f"{known} shares of a GPU; plans may give it {allowed}")
