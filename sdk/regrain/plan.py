"""Plan and Group as values, and the steps that a grain cuts the flow into.

A step is what one group does for a request (or for one item of a map). Front and replicas agree on steps by
value: the front sends a Step to the replica once and refers to it afterwards, so that another grain is
another set of steps and no new process (docs/architecture.md).
"""

from __future__ import annotations

from msgspec import Struct, structs

from regrain.graph import Graph, Ref, refs

FLUID = "~"
"""What a fluid group begins with in grain notation."""


class GpuShare(Struct, frozen=True, kw_only=True):
    """What each replica of a group is entitled to of the GPU that it runs on.

    Attributes:
        fraction: of the SMs, that a lease of it is for; in (0, 1].
        memory: bytes that it may hold.
        weight: its part of the SM-seconds beside the weights of others that wait; of two replicas each has it.
        floor: fraction of the SM-seconds that it gets for sure while it asks for them; each replica reserves it.
        ceiling: fraction of them that it never exceeds.
        priority: smaller goes first.
    """

    fraction: float = 1.0
    memory: int = 0
    weight: float = 1.0
    floor: float = 0.0
    ceiling: float = 1.0
    priority: int = 0


class Lane(Struct, frozen=True, kw_only=True):
    """How one stage runs in a fluid group: the fraction of a GPU's SMs of its leases, and units of a dispatch at most.

    A stage that needs no GPU has fraction 0.
    """

    stage: str
    fraction: float = 0.0
    max_size: int = 1


class Fluid(Struct, frozen=True, kw_only=True):
    """A group whose replicas have all its stages loaded and run one of them at a time, whichever is most urgent.

    Attributes:
        share: of GPUs that all its leases may take at once; above 1 it lies on several, and no lease spans them.
        lanes: one for each stage, in topological order.
        passes: whether what fits may go before something more urgent that lacks share; else the share is kept for it.
    """

    share: float
    lanes: tuple[Lane, ...]
    passes: bool = False


class Group(Struct, frozen=True, kw_only=True):
    """Stages that run together in one function.

    Attributes:
        stages: in topological order.
        replicas: worker processes.
        max_size: units (requests, or items of a map) that one dispatch holds at most.
        max_wait: seconds that the first unit waits for others at most.
        cpu: cores that a replica may use.
        gpu: what a replica is entitled to of a GPU; None where no stage needs one.
        fluid: set where its stages queue apart and share its replicas; None where they run one after the other.
    """

    stages: tuple[str, ...]
    replicas: int = 1
    max_size: int = 1
    max_wait: float = 0.0
    cpu: float = 1.0
    gpu: GpuShare | None = None
    fluid: Fluid | None = None

    @property
    def name(self) -> str:
        """The group in grain notation, such as "decode+detect"; a fluid one is "~decode+detect"."""
        return (FLUID if self.fluid is not None else "") + "+".join(self.stages)

    @property
    def queues(self) -> tuple[Group, ...]:
        """What queues apart: the group, or each stage of a fluid one as a group that has all of its replicas."""
        if self.fluid is None:
            return (self,)
        return tuple(
            structs.replace(
                self,
                stages=(lane.stage,),
                max_size=lane.max_size,
                gpu=structs.replace(self.gpu, fraction=lane.fraction) if self.gpu and lane.fraction else None,
                fluid=None,
            )
            for lane in self.fluid.lanes
        )


class Plan(Struct, frozen=True):
    """A grain and each group's configuration."""

    groups: tuple[Group, ...]

    @property
    def grain(self) -> str:
        """The plan's grain in its notation, such as "decode+detect | crop"."""
        return " | ".join(group.name for group in self.groups)

    @property
    def queues(self) -> tuple[Group, ...]:
        """What queues apart, in the order in which it can run."""
        return tuple(queue for group in self.groups for queue in group.queues)


class Input(Struct, frozen=True, array_like=True):
    """What a unit of a step brings: a value, or (`each`) its own item of a mapped list."""

    ref: Ref
    each: bool = False


class Output(Struct, frozen=True, array_like=True):
    """What a unit of a step gives; `split`: a list that somebody maps over, so its items travel one by one."""

    ref: Ref
    split: bool = False


class Step(Struct, frozen=True, kw_only=True):
    """What a group does. `per_item`: its unit is one item of a map and not a whole request.

    `streams`: its last stage gives the items of the answer one by one.
    """

    stages: tuple[str, ...]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    per_item: bool = False
    streams: bool = False


def steps(graph: Graph, groups: tuple[tuple[str, ...], ...]) -> tuple[Step, ...]:
    """Cut the flow into one step per group, in the groups' order.

    A group works item by item if all of its stages are mapped over the same lists; every other group takes
    whole requests and runs its maps inside. `groups` must be a convex partition (regrain.grain checks it).
    """
    per_item = {group: _is_per_item(graph, group) for group in groups}
    return tuple(
        Step(
            stages=group,
            inputs=_inputs(graph, group, per_item=per_item[group]),
            outputs=_outputs(graph, group, per_item),
            per_item=per_item[group],
            streams=any(graph.node(stage).streams for stage in group),
        )
        for group in groups
    )


def _is_per_item(graph: Graph, group: tuple[str, ...]) -> bool:
    scopes = {graph.scope(stage) for stage in group}
    if len(scopes) != 1 or not next(iter(scopes)):
        return False
    walked = [arg for stage in group for arg in graph.node(stage).args]
    if not all(isinstance(arg, Ref) and not (arg.is_input and arg.path) for arg in walked):
        return False  # a list put together in the flow, or a field of an input: nobody has its items apart
    inside = set(group)  # a broadcast of a sibling's whole list needs the barrier
    return all(
        ref.node not in inside
        for stage in group
        for arg in graph.node(stage).kwargs.values()
        for ref in refs(arg)
    )


def _inputs(graph: Graph, group: tuple[str, ...], *, per_item: bool) -> tuple[Input, ...]:
    found: dict[Input, None] = {}
    for stage in group:
        node = graph.node(stage)
        walked = [(arg, per_item) for arg in node.args]
        whole = [(arg, False) for arg in node.kwargs.values()]
        for arg, each in walked + whole:
            for ref in refs(arg):
                if ref.node not in group:
                    found[Input(Ref(ref.node) if ref.is_input and not each else ref, each)] = None
    return tuple(found)


def _outputs(
    graph: Graph, group: tuple[str, ...], per_item: dict[tuple[str, ...], bool]
) -> tuple[Output, ...]:
    wanted: dict[Ref, bool] = {}
    for other, items in per_item.items():
        if other == group:
            continue
        for entry in _inputs(graph, other, per_item=items):
            if entry.ref.node in group:
                wanted[entry.ref] = wanted.get(entry.ref, False) or (entry.each and not per_item[group])
    for ref in refs(graph.output):
        if ref.node in group:
            wanted.setdefault(ref, False)
    return tuple(Output(ref, split) for ref, split in wanted.items())
