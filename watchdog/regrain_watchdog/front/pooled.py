"""The functions of a plan. Those of a fluid group's stages have replicas, and shares of GPUs, in common."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from regrain.plan import Group, Plan
from regrain_watchdog.policy.fluid import NOBODY, card_for, next_up

if TYPE_CHECKING:
    from regrain_watchdog.front.function import Function

PRIORITY = 1e9
"""By how much a priority counts against deadlines, in seconds: more than any machine has been up."""


class FluidPool:
    """What the functions of one fluid group share.

    group: the fluid group. device: the GPU that a replica is on, by its number.
    Its first function counts the replicas; the others are served by the same.
    """

    def __init__(self, group: Group, device: Callable[[int], int]) -> None:
        self.group = group
        self.functions: list[Function] = []
        self._device = device

    def place(self, function: Function) -> int | None:
        """Return the GPU on which a function's next dispatch may go now; None while it may not.

        The most urgent function goes first; what fits passes it, or the share that it lacks is kept (policy/fluid.py).
        """
        now = time.monotonic()
        devices, free = self._free()
        found, card = next_up(
            [_urgency(one, now) for one in self.functions],
            [_take(one) for one in self.functions],
            free,
            passes=self.group.fluid is not None and self.group.fluid.passes,
        )
        return devices[card] if found >= 0 and self.functions[found] is function else None

    def has_room(self, function: Function) -> bool:
        """Whether the share that a function's dispatch holds is free on some GPU."""
        return card_for(_take(function), self._free()[1]) >= 0

    def is_on(self, number: int, device: int, function: Function) -> bool:
        """Whether a replica can run a function's dispatch that is to go on a GPU; without a share it can anywhere."""
        return function.group.gpu is None or self._device(number) == device

    def _free(self) -> tuple[list[int], list[float]]:
        """Return the GPUs on which it has a free replica, and what is left there of the GPU and of its share."""
        replicas = self.functions[0].replicas
        taken: dict[int, float] = {}
        for replica in replicas:
            for dispatch in replica.holding.values():
                gpu = dispatch.function.group.gpu
                if gpu is not None and dispatch.jobs:
                    device = self._device(replica.number)
                    taken[device] = taken.get(device, 0.0) + gpu.fraction
        left = (self.group.fluid.share if self.group.fluid else 0.0) - sum(taken.values())
        devices = sorted({self._device(one.number) for one in replicas if not one.holding}) or [0]
        return devices, [min(1.0 - taken.get(device, 0.0), left) for device in devices]


def pools(plan: Plan, device: Callable[[int], int]) -> Iterator[tuple[Group, FluidPool | None]]:
    """Yield what queues apart under a plan, each with the pool that it is in."""
    for group in plan.groups:
        pool = FluidPool(group, device) if group.fluid is not None else None
        for queue in group.queues:
            yield queue, pool


def leads(functions: Sequence[Function]) -> list[Function]:
    """Return the functions that count replicas: of those of a fluid group, the first alone."""
    return [function for function in functions if function.is_lead]


def lead(function: Function) -> Function:
    """Return the function that counts a function's replicas: the first of its fluid group, or itself."""
    return function.pool.functions[0] if function.pool is not None else function


def pump(functions: Sequence[Function]) -> None:
    """Have functions hand out what is due, the one first whose next unit is most urgent."""
    if len(functions) > 1:
        functions = sorted(functions, key=lambda function: function.urgency())
    for function in functions:
        function.pump()


def _take(function: Function) -> float:
    """Return the share of a GPU that a function's dispatch holds."""
    return function.group.gpu.fraction if function.group.gpu is not None else 0.0


def _urgency(function: Function, now: float) -> float:
    """When the next unit of a function must be done; NOBODY where none waits, or its batch is to wait for more."""
    if not len(function) or function.due(now) > now:
        return NOBODY
    priority, deadline, arrived = function.urgency()
    return priority * PRIORITY + (deadline if math.isfinite(deadline) else PRIORITY / 2 + arrived)
