"""Find in a flow's source the questions that Python answers without asking the value: `is` and `match`.

A symbol refuses every operation, but `x is None` never reaches it: it would be False while the flow is
traced, and whatever depends on it would be traced wrongly for good.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import FunctionType

from regrain.errors import TraceError


def check_identity(function: FunctionType) -> None:
    """Raise TraceError, with its line, where a flow compares a local by `is` or matches one.

    Of a decorated flow the function itself is looked at: its wrappers may ask about what is their own. Without source
    (a module made by exec) nothing is checked.
    """
    try:
        written = inspect.unwrap(function)
    except ValueError:  # wrappers that wrap each other
        return
    if not isinstance(written, FunctionType):
        return
    code = written.__code__
    try:
        lines, first = inspect.getsourcelines(written)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return
    local = {*code.co_varnames, *code.co_cellvars}
    for node in ast.walk(tree):
        for name in _asked(node):
            if name in local:
                line = first + getattr(node, "lineno", 1) - 1
                word = "match" if isinstance(node, ast.Match) else "is"
                why = f"{name} may be known only when a request comes, but `{word}` asks for it here"
                raise TraceError(f"{code.co_filename}:{line}: {why}; do it in a stage")


def _asked(node: ast.AST) -> Iterator[str]:
    operands: list[ast.expr] = []
    if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
        operands = [node.left, *node.comparators]
    elif isinstance(node, ast.Match):
        operands = [node.subject]
    for operand in operands:
        yield from (name.id for name in ast.walk(operand) if isinstance(name, ast.Name))
