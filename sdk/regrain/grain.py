"""Grain notation, and the plan that a fixed grain makes of an app.

A grain is a partition of the stages into groups, written "decode+detect | crop+recognise"; "fine" is one stage each and
"coarse" one group. Each group must be convex, and the groups must be runnable one after another: two groups that each
wait for the other are refused even where both are convex. A group after a ~ is fluid: its stages queue apart and share
its replicas; "fluid" is one such group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import structs

from regrain import shares as notation
from regrain.errors import GrainError, SpecError
from regrain.graph import Graph
from regrain.manifest import Manifest, StageSpec
from regrain.plan import FLUID, Fluid, GpuShare, Group, Lane, Plan, Step, steps
from regrain.shares import FRACTION

Groups = tuple[tuple[str, ...], ...]
WHOLE = ("coarse", "fluid")
"""The grains that are one group."""
JOIN = "+"
MAX_REPLICAS = 1024


def parse(text: str, graph: Graph) -> Groups:
    """Return the groups of a grain, in an order in which they can run; stages in the graph's order.

    Args:
        text: "fine", "coarse", "fluid", or groups such as "decode+detect | ~crop+read", of which those after a ~ are
            fluid (regrain.plan.Fluid); spaces do not matter.
        graph: the app's.

    Raises:
        GrainError: it names an unknown stage, leaves one out, names one twice, or cannot run.
    """
    word = text.strip()
    if word == "fine":
        return tuple((stage,) for stage in graph.stages)
    if word in WHOLE:
        return (graph.stages,)
    groups = [
        [stage.strip() for stage in group.strip().removeprefix(FLUID).split("+")] for group in text.split("|")
    ]
    _check_names([stage for group in groups for stage in group], text, graph)
    place = {stage: index for index, stage in enumerate(graph.stages)}
    ordered = [tuple(sorted(group, key=place.__getitem__)) for group in groups]
    for group in ordered:
        if not graph.is_convex(frozenset(group)):
            raise GrainError(
                f"grain {text!r}: group {'+'.join(group)} is left and entered again, through "
                f"{_between(graph, group)}; take that in, or split the group"
            )
    return _in_order(ordered, text, graph)


def fluid_stages(text: str, graph: Graph) -> frozenset[str]:
    """Return the stages of a grain that parses which are in fluid groups."""
    if text.strip() == WHOLE[1]:
        return frozenset(graph.stages)
    marked = [group.strip() for group in text.split("|") if group.strip().startswith(FLUID)]
    return frozenset(stage.strip() for group in marked for stage in group.removeprefix(FLUID).split("+"))


def format(groups: Iterable[Iterable[str]]) -> str:  # noqa: A001 - the counterpart of parse
    """Return groups in grain notation."""
    return " | ".join("+".join(group) for group in groups)


def make_plan(manifest: Manifest, grain: str, replicas: str = "", shares: str = "") -> Plan:
    """Return the plan of a fixed grain.

    A group with stages on a GPU needs the memory of all of them, since all stay loaded, and as many SMs as the
    hungriest of them, since they run one after the other; where no stage hints at a share that is the whole device.
    What `shares` says of several stages of one group is put together (regrain.shares.together).

    Args:
        manifest: the app's.
        grain: in grain notation.
        replicas: worker processes: "2" for every group, or "decode=1, recognise=2" by the name of a group or
            of a stage in it; "" for one each.
        shares: of the GPUs, in the notation of regrain.shares: "0.5", or "recognise=0.25 weight=2"; "" as the
            stages hint. Weight, floor and ceiling are each replica's.

    Raises:
        GrainError: no grain of this app.
        SpecError: a number of replicas or a share is none, or for no group.
    """
    graph = manifest.graph
    groups, fluid = parse(grain, graph), fluid_stages(grain, graph)
    counts, said = _counts(replicas, groups), _shares(shares, groups, manifest)
    apart = tuple(
        part
        for group in groups
        for part in (((stage,) for stage in group) if group[0] in fluid else (group,))
    )
    made = {step.stages: step for step in steps(graph, apart)}
    return Plan(
        tuple(
            _fluid(manifest, [made[stage,] for stage in group], counts.get(group, 1), said.get(group, {}))
            if group[0] in fluid
            else _group(manifest, made[group], counts.get(group, 1), _together(said.get(group, {}), group))
            for group in groups
        )
    )


def _check_names(named: list[str], text: str, graph: Graph) -> None:
    known = graph.stages
    allowed = f'allowed are "fine", "coarse", "fluid", or each of {", ".join(known)} once, joined by + and |'
    for stage in named:
        if stage not in known:
            what = f"there is no stage {stage!r}" if stage else "a group is empty"
            raise GrainError(f"grain {text!r}: {what}; {allowed}")
        if named.count(stage) > 1:
            raise GrainError(
                f"grain {text!r}: stage {stage!r} is in it {named.count(stage)} times; {allowed}"
            )
    missing = [stage for stage in known if stage not in named]
    if missing:
        raise GrainError(f"grain {text!r}: {', '.join(missing)} left out; {allowed}")


def _between(graph: Graph, group: tuple[str, ...]) -> str:
    """Return the stages outside of a group on a path from it back to it."""
    members = frozenset(group)
    outside = graph.descendants(members) - members
    return ", ".join(
        stage
        for stage in graph.stages
        if stage in outside and graph.descendants(frozenset([stage])) & members
    )


def _in_order(groups: list[tuple[str, ...]], text: str, graph: Graph) -> Groups:
    """Return the groups so that each comes after those it takes from, as early in the graph as possible."""
    owner = {stage: group for group in groups for stage in group}
    needs = {
        group: {owner[parent] for stage in group for parent in graph.parents(stage)} - {group}
        for group in groups
    }
    place = {stage: index for index, stage in enumerate(graph.stages)}
    waiting = sorted(groups, key=lambda group: place[group[0]])
    ordered: list[tuple[str, ...]] = []
    while waiting:
        ready = next((group for group in waiting if needs[group] <= set(ordered)), None)
        if ready is None:
            stuck = format(group for group in waiting)
            raise GrainError(f"grain {text!r}: groups {stuck} wait for each other; split one of them")
        waiting.remove(ready)
        ordered.append(ready)
    return tuple(ordered)


def _counts(text: str, groups: Groups) -> dict[tuple[str, ...], int]:
    """Return the replicas of each group that the setting says something for."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    if len(entries) == 1 and "=" not in entries[0]:
        return dict.fromkeys(groups, _count(entries[0], text))
    found: dict[tuple[str, ...], int] = {}
    for entry in entries:
        name, _, number = entry.partition("=")
        group = _named("replicas", name.strip(), groups, text)
        count = _count(number.strip(), text)
        if found.setdefault(group, count) != count:
            raise SpecError(
                f"replicas {text!r}: group {'+'.join(group)} is given both {found[group]} and {count}"
            )
    return found


def _shares(text: str, groups: Groups, manifest: Manifest) -> dict[tuple[str, ...], dict[str, notation.Said]]:
    """Return what the setting says of each group, by the name that it gives it: the group's, a stage's, "" for all."""
    able = [spec.name for spec in manifest.stages if spec.gpu is not None]
    found: dict[tuple[str, ...], dict[str, notation.Said]] = {}
    for name, said in notation.parse(text):
        for group in [_named("shares", name, groups, text)] if name else groups:
            if name and not set(name.removeprefix(FLUID).split(JOIN)) & set(able):
                raise SpecError(
                    f"shares {text!r}: {name!r} needs no GPU, {', '.join(able) or 'no stage'} does"
                )
            if found.setdefault(group, {}).setdefault(name, said) != said:
                raise SpecError(f"shares {text!r}: {name!r} is in it twice")
    return found


def _named(what: str, name: str, groups: Groups, text: str) -> tuple[str, ...]:
    wanted = {stage.strip() for stage in name.removeprefix(FLUID).split(JOIN)}
    for group in groups:
        if wanted == set(group) or (len(wanted) == 1 and wanted <= set(group)):
            return group
    raise SpecError(f"{what} {text!r}: there is no group {name!r}; groups are {format(groups)}")


def _count(number: str, text: str) -> int:
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= MAX_REPLICAS:
        raise SpecError(
            f'replicas must be 1 to {MAX_REPLICAS} for all groups, such as "2", or by group, such as '
            f'"decode=1,recognise=2"; was {text!r}'
        )
    return int(number)


def _group(manifest: Manifest, step: Step, replicas: int, share: notation.Said) -> Group:
    """Return a step as a group: it batches as much as the batched stages that see its units one by one.

    One that streams takes a request at a time, as each holds its replica until its last item.
    """
    specs = [manifest.stage(stage) for stage in step.stages]
    batched = [
        spec
        for spec in specs
        if spec.batched and not step.streams and (step.per_item or not manifest.graph.node(spec.name).mapped)
    ]
    return Group(
        stages=step.stages,
        replicas=replicas,
        max_size=max((spec.max_size for spec in batched), default=1),
        max_wait=max((spec.max_wait for spec in batched), default=0.0),
        cpu=max(spec.cpu for spec in specs),
        gpu=_gpu(specs, share),
    )


def _fluid(manifest: Manifest, stages: list[Step], replicas: int, said: Mapping[str, notation.Said]) -> Group:
    """Return a fluid group: each stage batches, and takes a share, as if it were a group; the pool has a whole GPU.

    What is said of the group by all its stages' names is of the pool, what is said of a stage of its lane.
    """
    names = tuple(step.stages[0] for step in stages)
    streaming = next((step.stages[0] for step in stages if step.streams), "")
    if streaming:
        raise GrainError(f"stage {streaming!r} streams, so that it cannot be in a fluid group")
    queues = [
        _group(manifest, step, replicas, {**said.get("", {}), **said.get(step.stages[0], {})})
        for step in stages
    ]
    lanes = tuple(
        Lane(
            stage=queue.stages[0],
            fraction=queue.gpu.fraction if queue.gpu is not None else 0.0,
            max_size=queue.max_size,
        )
        for queue in queues
    )
    shares = [queue.gpu for queue in queues if queue.gpu is not None]
    gpu = GpuShare(memory=sum(share.memory for share in shares))
    whole = {**_together(said, names), FRACTION: max((lane.fraction for lane in lanes), default=0.0)}
    pool = next((each[FRACTION] for name, each in said.items() if JOIN in name and FRACTION in each), 1.0)
    return Group(
        stages=names,
        replicas=replicas,
        max_size=max(lane.max_size for lane in lanes),
        max_wait=max(queue.max_wait for queue in queues),
        cpu=max(queue.cpu for queue in queues),
        gpu=structs.replace(gpu, **whole) if shares else None,
        fluid=Fluid(share=pool if shares else 0.0, lanes=lanes),
    )


def _together(said: Mapping[str, notation.Said], group: tuple[str, ...]) -> notation.Said:
    return notation.together(list(said.values()), JOIN.join(group))


def _gpu(specs: list[StageSpec], said: notation.Said) -> GpuShare | None:
    needs = [spec.gpu for spec in specs if spec.gpu is not None]
    if not needs:
        return None
    hint = max((need.share for need in needs if need.share is not None), default=1.0)
    hinted = GpuShare(fraction=hint, memory=sum(need.memory for need in needs))
    return structs.replace(hinted, **said)
