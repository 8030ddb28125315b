"""The configurations that a group may have, and what its stages take under each.

A configuration is a level (the share of a GPU, or where no stage needs one the cores that they declare), a batch size
and wait, and replicas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from regrain.manifest import StageSpec
from regrain.plan import GpuShare, Group, Plan, steps
from regrain_watchdog.policy.cost import gpu_memory, gpu_weights
from regrain_watchdog.policy.model import PER_REQUEST, lists
from regrain_watchdog.policy.search.partition import Dag, bits
from regrain_watchdog.policy.search.problem import NoPlanError, Problem

Floats = NDArray[np.float64]
NEAR = 1e-9


@dataclass(frozen=True, slots=True, order=True)
class Option:
    """A group's configuration. `level`: the share of a GPU, or where no stage needs one the cores of a replica."""

    level: float
    max_size: int
    max_wait: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Kind:
    """What a group's configurations have in common.

    Attributes:
        mask: its stages.
        on_gpu: whether `levels` are shares of a GPU.
        cpu: cores of a replica: the most that any of its stages declares.
        scope: PER_REQUEST, or the list of which each item is a unit.
        levels, sizes, waits: that it may have, ascending.
    """

    mask: int
    on_gpu: bool
    cpu: float
    scope: int
    levels: tuple[float, ...]
    sizes: tuple[int, ...]
    waits: tuple[float, ...]


class Space:
    """The groups of an app and what they may be configured as; the same under any load."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.dag = Dag.of(problem.app.graph)
        self._kinds: dict[int, Kind | None] = {}
        self._groups: dict[tuple[int, Option], Group] = {}
        self._lists = lists(problem.app.graph)
        self._specs = [problem.app.manifest.stage(name) for name in self.dag.stages]
        self._profiles = [problem.app.profile.stages[name] for name in self.dag.stages]

    def scope(self, stage: int) -> int:
        """Return the list that a stage is mapped over, or PER_REQUEST."""
        scope = self.problem.app.graph.scope(self.dag.stages[stage])
        return self._lists.index(scope) if scope else PER_REQUEST

    def spec(self, stage: int) -> StageSpec:
        """Return a stage's declaration."""
        return self._specs[stage]

    def on_gpu(self, stage: int) -> bool:
        """Whether a stage needs a GPU."""
        return self._profiles[stage].on_gpu

    def kind(self, mask: int) -> Kind | None:
        """Return what a group may be; None where nothing was measured that would suit all of its stages."""
        if mask not in self._kinds:
            self._kinds[mask] = self._make(mask)
        return self._kinds[mask]

    def group(self, mask: int, option: Option) -> Group:
        """Return a group in a configuration."""
        if (mask, option) not in self._groups:
            self._groups[mask, option] = self._configured(mask, option)
        return self._groups[mask, option]

    def option(self, group: Group) -> tuple[int, Option]:
        """Return a group as a mask and a configuration; the counterpart of `group`."""
        level = group.gpu.fraction if group.gpu is not None else group.cpu
        return self.dag.mask(group.stages), Option(level, group.max_size, group.max_wait, group.replicas)

    def holds(self, plan: Plan) -> bool:
        """Whether a plan consists of groups in configurations that are searched."""
        for group in plan.groups:
            mask, option = self.option(group)
            kind = self.kind(mask)
            if group.fluid is not None or kind is None or option.level not in kind.levels:
                return False
            if option.max_size not in kind.sizes or option.max_wait not in kind.waits:
                return False
        return True

    def _configured(self, mask: int, option: Option) -> Group:
        kind = self.kind(mask)
        if kind is None:
            raise NoPlanError(f"nothing was measured that suits all of {'+'.join(self.dag.names(mask))}")
        bare = Group(
            stages=self.dag.names(mask),
            replicas=option.replicas,
            max_size=option.max_size,
            max_wait=option.max_wait,
            cpu=kind.cpu,
        )
        if not kind.on_gpu:
            return bare
        profile = self.problem.app.profile
        held = gpu_memory(bare, profile) + gpu_weights(bare, profile)
        share = GpuShare(fraction=option.level, memory=held, floor=option.level)
        return structs.replace(bare, gpu=share)

    def _make(self, mask: int) -> Kind | None:
        members = list(bits(mask))
        specs = [self._specs[stage] for stage in members]
        on_gpu = any(self.on_gpu(stage) for stage in members)
        if on_gpu and not self.problem.node.cards:
            return None
        cpu = max(spec.cpu for spec in specs)
        able = self.problem.limits.shares if on_gpu else (cpu,)
        levels = tuple(level for level in able if all(self._suits(stage, level) for stage in members))
        if not levels:
            return None
        most = max((spec.max_size for spec in specs if spec.batched), default=1)
        if any(spec.streams for spec in specs):
            most = 1
        sizes = tuple(size for size in self.problem.limits.sizes if size <= most)
        return Kind(
            mask=mask,
            on_gpu=on_gpu,
            cpu=cpu,
            scope=self._unit(mask, members),
            levels=levels,
            sizes=sizes,
            waits=self.problem.limits.waits,
        )

    def _suits(self, stage: int, level: float) -> bool:
        """Whether a stage was measured at a group's level; one without a GPU at the cores that it declares."""
        wanted = level if self.on_gpu(stage) else self._specs[stage].cpu
        measured = self.problem.times[self.dag.stages[stage]].shares
        return bool(measured[0] * (1 - NEAR) <= wanted <= measured[-1] * (1 + NEAR))

    def _unit(self, mask: int, members: list[int]) -> int:
        scopes = {self.scope(stage) for stage in members}
        if len(scopes) > 1 or scopes == {PER_REQUEST}:
            return PER_REQUEST
        (step,) = steps(self.problem.app.graph, (self.dag.names(mask),))
        return scopes.pop() if step.per_item else PER_REQUEST


def configurations(kind: Kind, replicas: range) -> Iterator[Option]:
    """Return every configuration of a group with so many replicas; one that does not batch does not wait either."""
    for level in kind.levels:
        for size in kind.sizes:
            for wait in kind.waits if size > 1 else kind.waits[:1]:
                for count in replicas:
                    yield Option(level, size, wait, count)


def pareto(values: Floats) -> NDArray[np.intp]:
    """Return the rows of (n, measures) that no other is at least as good as in all measures (smaller is better).

    Of equal rows the first stays. Ascending by the first measure.
    """
    order = np.lexsort(values.T[::-1])
    kept: list[int] = []
    for row in order:
        if not kept or not np.any(np.all(values[kept] <= values[row], axis=1)):
            kept.append(int(row))
    return np.array(kept, dtype=np.intp)
