"""Draw an app as text: a frame per group, a line per stage that says what it is called with."""

from __future__ import annotations

from regrain.graph import Arg, Const, Node, Ref
from regrain.manifest import Manifest
from regrain.plan import Group, Plan
from regrain_watchdog.picture.labels import batching, headline, needs, replicas

GAP = "   "


def outline(manifest: Manifest, plan: Plan) -> str:
    """Return the text form of an app's stages, in the groups of a plan."""
    rows = {node.stage: _cells(manifest, node) for node in manifest.graph.nodes}
    widths = [max(len(cells[column]) for cells in rows.values()) for column in range(4)]
    lines = {
        stage: GAP.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for stage, cells in rows.items()
    }
    inner = max(
        *(len(line) for line in lines.values()),
        *(len(group.name) + len(replicas(group)) + 5 for group in plan.groups),
    )
    frames = [_frame(group, [lines[stage] for stage in group.stages], inner) for group in plan.groups]
    answer = f"  answer ← {_source(manifest.graph.output)}"
    return "\n".join([*headline(manifest, plan), "", *frames, answer]) + "\n"


def _cells(manifest: Manifest, node: Node) -> tuple[str, str, str, str]:
    """A stage's name, arguments, needs and batching."""
    spec = manifest.stage(node.stage)
    each = "each of " if node.mapped else ""
    given = [each + _source(arg) for arg in node.args]
    given += [f"{name}={_source(arg)}" for name, arg in node.kwargs.items()]
    return node.stage, f"← {', '.join(given)}" if given else "", needs(spec), batching(spec)


def _source(arg: Arg) -> str:
    """An argument as the flow wrote it; constants without their value."""
    if isinstance(arg, Const):
        return "constant"
    if isinstance(arg, Ref):
        path = "".join(f".{step}" if isinstance(step, str) else f"[{step}]" for step in arg.path)
        return arg.node.removeprefix("$") + path
    items = [_source(item) for item in arg.items]
    if arg.kind == "dict":
        return "{" + ", ".join(f"{key}: {item}" for key, item in zip(arg.keys, items, strict=True)) + "}"
    return f"[{', '.join(items)}]" if arg.kind == "list" else f"({', '.join(items)})"


def _frame(group: Group, lines: list[str], inner: int) -> str:
    count = replicas(group)
    fill = "─" * (inner - len(group.name) - len(count) - 4)
    body = [f"│ {line.ljust(inner)} │" for line in lines]
    return "\n".join([f"╭─ {group.name} {fill} {count} ─╮", *body, f"╰{'─' * (inner + 2)}╯"])
