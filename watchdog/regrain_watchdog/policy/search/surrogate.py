"""P1's tables: for each group and configuration a cost, and a latency at some quantiles; a few microseconds each.

A group is taken alone, as if the whole load came to it at once. It is an approximation that ranks; what counts is what
the predictor says of the plans that P1 proposes.

Batches form by themselves: with seconds a + c b for a batch of b and u units a second to each of R replicas that are
always busy, b = u a / (1 - u c) come together while one is served. Waiting in a queue with R servers is Sakasegawa's
approximation ("An approximation formula", 1977) of M/M/R, scaled for variability (Allen-Cunneen), with an exponential
tail beyond its atom at 0:

    W = (ca^2 + cs^2) / 2 * rho^(sqrt(2 (R + 1)) - 1) / (R (1 - rho)) * S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.policy.cost import GIB, HOUR, Prices
from regrain_watchdog.policy.model import PER_REQUEST
from regrain_watchdog.policy.search.demand import LEVELS, Calls, Demand, stage_demand
from regrain_watchdog.policy.search.options import Option, Space
from regrain_watchdog.policy.search.problem import STABLE

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
MORE = (0, 1, 2, 4, 8)
"""Replicas beyond those that a group needs for its load, that P1 looks at."""
LEAST = 1e-12
"""Of seconds, items, and units a second: what is divided by none of them is divided by so much."""


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """Configurations of groups, flat.

    Attributes:
        group: (n,) place in the surrogate's groups.
        level, size, wait: (n,) places in the levels, sizes and waits that are allowed.
        replicas: (n,).
    """

    group: Ints
    level: Ints
    size: Ints
    wait: Ints
    replicas: Ints

    def __len__(self) -> int:
        return len(self.group)

    def take(self, which: Ints | NDArray[np.bool_]) -> Options:
        """Return some of them."""
        return Options(
            self.group[which], self.level[which], self.size[which], self.wait[which], self.replicas[which]
        )


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What is expected of configurations: (n,) busy share of their capacity, dollars a second, (LEVELS, n) seconds."""

    busy: Floats
    cost: Floats
    latency: Floats


class Surrogate:
    """What groups of an app cost and take under a load."""

    def __init__(
        self,
        space: Space,
        groups: tuple[int, ...],
        demand: Demand,
        tables: tuple[list[Calls], list[Calls]],
        prices: Prices,
    ) -> None:
        self.space = space
        self.prices = prices
        self.groups = groups
        self.number = {mask: place for place, mask in enumerate(groups)}
        self.demand = demand
        limits = space.problem.limits
        self.sizes, self.waits = limits.sizes, np.array(limits.waits)
        self._kinds = [space.kind(mask) for mask in groups]
        self._members = np.array(
            [[mask >> stage & 1 for stage in range(len(space.dag.stages))] for mask in groups], float
        )
        self._on_gpu = np.array([kind is not None and kind.on_gpu for kind in self._kinds])
        self._scope = np.array([kind.scope if kind is not None else PER_REQUEST for kind in self._kinds])
        self._measure(tables)
        self._weigh()
        self._allow()

    def levels(self, place: int) -> tuple[float, ...]:
        """Return what the levels of a group are places in."""
        problem = self.space.problem
        return problem.limits.shares if self._on_gpu[place] else problem.cores

    def option(self, options: Options, at: int) -> tuple[int, Option]:
        """Return one of some configurations, with its group's mask."""
        place = int(options.group[at])
        level = self.levels(place)[options.level[at]]
        wait = float(self.waits[options.wait[at]])
        return self.groups[place], Option(
            level, self.sizes[options.size[at]], wait, int(options.replicas[at])
        )

    def flat(self, options: list[tuple[int, Option]]) -> Options:
        """Return configurations as places; the counterpart of `option`."""
        rows = []
        for mask, one in options:
            place = self.number[mask]
            waits = self.space.problem.limits.waits
            rows.append(
                (
                    place,
                    self.levels(place).index(one.level),
                    self.sizes.index(one.max_size),
                    waits.index(one.max_wait),
                    one.replicas,
                )
            )
        columns = np.array(rows, np.intp).reshape(len(rows), 5).T
        return Options(*columns)

    def proposals(self) -> Options:
        """Return the configurations that bear the load and fit on the node alone; with replicas that do, or more."""
        group, level, size, wait = (column.astype(np.intp) for column in np.nonzero(self._allowed))
        bare = Options(group, level, size, wait, np.ones(len(group), np.intp))
        with np.errstate(invalid="ignore"):
            needed = np.ceil(self._capacity(bare) / STABLE)
        most = self._most(bare)
        able = np.isfinite(needed) & (needed <= most)
        bare, least, most = bare.take(able), np.maximum(1, needed[able]).astype(np.intp), most[able]
        count = len(bare)
        replicas = (least[:, None] + np.array(MORE)[None, :]).reshape(-1)
        spread = np.repeat(np.arange(count), len(MORE))
        wide = bare.take(spread)
        every = Options(wide.group, wide.level, wide.size, wide.wait, replicas)
        return every.take(replicas <= most[spread])

    def estimate(self, options: Options) -> Estimate:
        """Return what is expected of configurations."""
        busy = self._capacity(options) / options.replicas
        latency = np.empty((len(LEVELS), len(options)))
        items = self._scope[options.group] != PER_REQUEST
        latency[:, ~items] = self._of_requests(options.take(~items), busy[~items])
        latency[:, items] = self._of_items(options.take(items), busy[items])
        return Estimate(busy, self.cost(options), latency + self.space.problem.app.profile.hop.seconds)

    def cost(self, options: Options) -> Floats:
        """Return the dollars a second of configurations; equal to policy.cost.group_rate."""
        problem = self.space.problem
        held = self._held(options)
        cpu = self._cpu[options.group]
        each = cpu * self.prices.core + self._memory[options.group] / GIB * self.prices.memory
        if problem.card is not None:
            share = np.maximum(self._share(options), held * problem.card.part / problem.card.memory)
            share = np.maximum(share, problem.card.least)
            price = self.prices.gpu or problem.card.price
            each = each + np.where(self._on_gpu[options.group], share * price, 0.0)
        found: Floats = options.replicas * each / HOUR
        return found

    def _measure(self, tables: tuple[list[Calls], list[Calls]]) -> None:
        """Put together what the stages of each group take, by level."""
        scopes = [self.space.scope(stage) for stage in range(len(self.space.dag.stages))]
        sides = [
            [
                stage_demand(table, scope, self.demand, self.sizes)
                for table, scope in zip(side, scopes, strict=True)
            ]
            for side in tables
        ]
        self._batch = self._sum([[one.batch for one in side] for side in sides])
        self._spread = self._sum([[one.spread for one in side] for side in sides])
        self._quantile = self._sum([[one.quantile for one in side] for side in sides])
        self._items = self._sum([[one.items for one in side] for side in sides])

    def _sum(self, sides: list[list[Floats]]) -> Floats:
        """Return (groups, levels, ...) sums over the members, of the side that a group is on; NaN where not allowed."""
        levels = max(len(side[0]) for side in sides)
        found = np.full((len(self.groups), levels, *sides[0][0].shape[1:]), np.nan)
        for side, chosen in zip(sides, (self._on_gpu, ~self._on_gpu), strict=True):
            stacked = np.array(side)
            known = np.nan_to_num(stacked)
            rows = self._members[chosen] @ known.reshape(len(known), -1)
            found[chosen, : stacked.shape[1]] = rows.reshape(len(rows), *stacked.shape[1:])
        return found

    def _weigh(self) -> None:
        """Note what a replica of each group holds, by group."""
        profile = self.space.problem.app.profile
        stages = [profile.stages[name] for name in self.space.dag.stages]
        members = self._members
        gpu = np.array([stage.on_gpu for stage in stages], float)
        weights = np.array([stage.weights for stage in stages], float)
        self._activation = (members * (gpu * np.array([stage.activation for stage in stages], float))).max(
            axis=1
        )
        self._weights = profile.context + members @ (gpu * weights)
        self._memory = profile.resident + members @ ((1 - gpu) * weights)

    def _allow(self) -> None:
        """Note the (groups, levels, sizes, waits) that there are, and the cores of a replica by group."""
        limits = self.space.problem.limits
        levels = self._batch.shape[1]
        self._allowed = np.zeros((len(self.groups), levels, len(self.sizes), len(limits.waits)), bool)
        self._cpu = np.array([kind.cpu if kind is not None else 1.0 for kind in self._kinds])
        for place, kind in enumerate(self._kinds):
            if kind is None:
                continue
            able = [level in kind.levels for level in self.levels(place)]
            self._allowed[place, : len(able)] = np.array(able)[:, None, None]
            self._allowed[place] &= np.array([size in kind.sizes for size in self.sizes])[None, :, None]
        self._allowed[:, :, 0, 1:] = False

    def _share(self, options: Options) -> Floats:
        shares = np.array([*self.space.problem.limits.shares, *[0.0] * self._batch.shape[1]])
        found: Floats = shares[options.level]
        return found

    def _held(self, options: Options) -> Floats:
        sizes = np.array(self.sizes)[options.size]
        found: Floats = self._weights[options.group] + self._activation[options.group] * sizes
        return found

    def _most(self, options: Options) -> Floats:
        """Return how many replicas of a group have room on the node alone; 0 where not even one has."""
        problem = self.space.problem
        node = problem.node
        cpu = self._cpu[options.group]
        most = np.floor(
            np.minimum(node.cores / cpu, node.memory / np.maximum(self._memory[options.group], 1)) + 1e-9
        )
        on_gpu = self._on_gpu[options.group]
        if on_gpu.any():
            share, held = self._share(options), np.maximum(self._held(options), 1)
            room = sum(
                np.floor(np.minimum(1 / np.maximum(share, 1e-9) + 1e-9, card.memory / held))
                for card in node.cards
            )
            most = np.where(on_gpu, np.minimum(most, room), most)
        found: Floats = np.minimum(most, problem.limits.replicas)
        return found

    def _units(self, options: Options) -> Floats:
        """Return the units a second that come to a group."""
        widths = self.demand.widths.mean(axis=0)
        found: Floats = self.demand.rate * widths[self._scope[options.group]]
        return found

    def _dispatch(self, options: Options, *, full: bool) -> Floats:
        """Return the mean seconds of a dispatch, of one unit or of a full batch."""
        sizes = np.array(self.sizes)[options.size]
        items = self._scope[options.group] != PER_REQUEST
        by_item = self._items[options.group, options.level, sizes if full else 1]
        first = options.size if full else np.zeros_like(options.size)
        found: Floats = np.where(items, by_item, self._batch[options.group, options.level, first])
        return found

    def _capacity(self, options: Options) -> Floats:
        """Return the replicas that full batches keep busy."""
        sizes = np.array(self.sizes)[options.size]
        found: Floats = self._units(options) * self._dispatch(options, full=True) / sizes
        return found

    def _of_requests(self, options: Options, busy: Floats) -> Floats:
        sizes, rate = np.array(self.sizes)[options.size], self._units(options)
        full = self._dispatch(options, full=True)
        single = self._batch[options.group, options.level, 0]
        slope = np.where(sizes > 1, (full - single) / np.maximum(sizes - 1, 1), 0.0)
        each = rate / options.replicas
        room = np.maximum(1 - each * slope, 1e-6)
        formed = np.clip(each * (single - slope) / room, 1.0, sizes)
        wait = np.minimum(self.waits[options.wait], (sizes - 1) / rate)
        formed = np.maximum(formed, np.minimum(sizes, 1 + rate * wait))
        service = single + slope * (formed - 1)
        scv = (self._spread[options.group, options.level] / np.maximum(single, LEAST)) ** 2 / formed
        queue, atom = _queue(busy, options.replicas, service, (self.demand.burst + scv) / 2)
        queue = queue + (1 - 1 / formed) * service / (options.replicas + 1)
        own = self._quantile[options.group, options.level].T + (service - single)
        found: Floats = own + _tail(queue, atom) + wait
        return found

    def _of_items(self, options: Options, busy: Floats) -> Floats:
        """Return the seconds until the last item of a request is done: its batches go to all replicas at once."""
        sizes = np.array(self.sizes)[options.size]
        scope = self._scope[options.group]
        full = self._dispatch(options, full=True)
        wide = self.demand.widths[[self.demand.at(level) for level in LEVELS]][:, scope]
        rounds = np.ceil(wide / (options.replicas * sizes))  # 0 of an empty list
        each = np.ceil(wide / (np.maximum(rounds, 1) * options.replicas))
        together = np.minimum(each, sizes).astype(np.intp)
        own = rounds * self._items[options.group, options.level, together]
        width = self.demand.widths.mean(axis=0)[scope]
        scv = (self.demand.widths.std(axis=0)[scope] / np.maximum(width, LEAST)) ** 2
        work = width * full / sizes / options.replicas
        busy = np.minimum(busy, STABLE + 0.02)
        queue = (self.demand.burst + scv) / 2 * busy / (1 - busy) * work
        wait = np.minimum(self.waits[options.wait], (sizes - 1) / np.maximum(self._units(options), LEAST))
        found: Floats = own + _tail(queue, busy) + wait
        return found


def _queue(busy: Floats, replicas: Ints, service: Floats, variability: Floats) -> tuple[Floats, Floats]:
    """Return the mean seconds of waiting, and the share of the units that wait at all."""
    busy = np.minimum(busy, STABLE + 0.02)
    atom = busy ** (np.sqrt(2.0 * (replicas + 1)) - 1)
    return variability * atom / (replicas * (1 - busy)) * service, atom


def _tail(queue: Floats, atom: Floats) -> Floats:
    """Return (LEVELS, n) quantiles of waiting that is 0 with 1 - atom, and exponential beyond."""
    beyond = 1 - np.array(LEVELS)[:, None]
    atom = np.maximum(atom, 1e-12)
    found: Floats = queue / atom * np.maximum(np.log(atom / beyond), 0.0)
    return found
