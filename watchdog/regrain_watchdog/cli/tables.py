"""Tables for a terminal, which has a width, and for pipes, where a line stays a line."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

ENDLESS = 10_000
"""Columns of a pipe: so many that nothing is ever folded."""


def table(*columns: str, whole: tuple[str, ...] = ()) -> Table:
    """Return an empty table; columns in `whole` are never folded, so that they can be copied."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=column in whole)
    return made


def show(made: Table) -> None:
    """Print a table to stdout, its texts as they are: neither [...] nor :a: in an address of IPv6 is markup."""
    Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else ENDLESS).print(
        made
    )
