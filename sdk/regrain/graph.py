"""The app's DAG as a value: what each stage is called with, and what the flow returns.

It is traced once (regrain.trace), travels in the manifest as JSON, and is all that the front knows of the
flow. A stage occurs in it exactly once, so a stage and its node are the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

INPUT = "$"
"""What a parameter of the flow is prefixed with in `Ref.node`: "$image" is an input, "image" a stage."""


class Const(Struct, frozen=True, tag="const"):
    """A value written in the flow itself; `data` is its skeleton (regrain.wire.codec.pack_inline)."""

    data: bytes


class Ref(Struct, frozen=True, tag="ref"):
    """The result of a stage, or an input ("$name"); `path` are fields (str) and tuple places (int) in it."""

    node: str
    path: tuple[str | int, ...] = ()

    @property
    def is_input(self) -> bool:
        """Whether this is a parameter of the flow."""
        return self.node.startswith(INPUT)


class Pack(Struct, frozen=True, tag="pack"):
    """A list, tuple or dict of arguments, written in the flow; `keys` name the items of a dict."""

    kind: Literal["list", "tuple", "dict"]
    items: tuple[Const | Ref | Pack, ...]
    keys: tuple[str, ...] = ()


Arg = Const | Ref | Pack


class Node(Struct, frozen=True):
    """One call of a stage. Mapped: positional arguments are lists walked together, keywords go to each.

    Streams: it gives the items of the answer one by one.
    """

    stage: str
    args: tuple[Arg, ...] = ()
    kwargs: dict[str, Arg] = {}
    mapped: bool = False
    streams: bool = False


def refs(arg: Arg) -> Iterator[Ref]:
    """Every Ref in an argument, in order."""
    if isinstance(arg, Ref):
        yield arg
    elif isinstance(arg, Pack):
        for item in arg.items:
            yield from refs(item)


class Graph(Struct, frozen=True):
    """The DAG. `nodes` are in topological order; `output` says how the answer is put together."""

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    output: Arg

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages in topological order."""
        return tuple(node.stage for node in self.nodes)

    @property
    def streams(self) -> bool:
        """Whether the answer comes item by item."""
        return any(node.streams for node in self.nodes)

    def node(self, stage: str) -> Node:
        """Return the node of a stage; KeyError if there is none."""
        for node in self.nodes:
            if node.stage == stage:
                return node
        raise KeyError(stage)

    def parents(self, stage: str) -> frozenset[str]:
        """The stages whose results this stage takes."""
        node = self.node(stage)
        return frozenset(
            ref.node for arg in (*node.args, *node.kwargs.values()) for ref in refs(arg) if not ref.is_input
        )

    def scope(self, stage: str) -> frozenset[Ref]:
        """The lists that a mapped stage walks, traced back to where they were made; else empty.

        Two mapped stages of one scope see the same items: between them items flow on without a barrier. A
        list that is written in the flow has no name but that of the stage that walks it.
        """
        node = self.node(stage)
        if not node.mapped:
            return frozenset()
        roots: frozenset[Ref] = frozenset()
        for arg in node.args:
            if not isinstance(arg, Ref):
                roots |= {Ref(stage)}
            elif not arg.is_input and self.node(arg.node).mapped:
                roots |= self.scope(arg.node)
            else:
                roots |= {arg}
        return roots

    def descendants(self, stages: frozenset[str]) -> frozenset[str]:
        """Every stage reachable from `stages`, themselves left out unless a path comes back to them."""
        reached: set[str] = set()
        for stage in self.stages:
            if self.parents(stage) & (stages | reached):
                reached.add(stage)
        return frozenset(reached)

    def is_convex(self, group: frozenset[str]) -> bool:
        """Whether no path leaves the group and comes back into it.

        A path that leaves goes through a stage outside; the group is convex iff no stage outside is at once
        reachable from the group and a (transitive) parent of a member.
        """
        outside = self.descendants(group) - group
        return not (self.descendants(outside) & group)
