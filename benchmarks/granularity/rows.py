"""Results as JSON lines: one for each cell and policy, appended as they come and found again on resuming."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks import machine
from regrain.errors import SpecError

Row = dict[str, object]
CELL = ("part", "pipeline", "shares", "cards", "slo", "load", "arrivals", "ablation", "day")
Key = tuple[object, ...]


def key(row: Mapping[str, object]) -> Key:
    """Return what identifies the cell of a row."""
    return tuple(row.get(name) for name in CELL)


class Rows:
    """A file of rows. A last line that was cut short by a kill is left out and written again.

    Each run that adds some says first on what machine, by which versions and which commit; files of before lack that.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self._is_named = False
        if path.exists():
            self.rows = list(_read(path))

    def begin(self, *, resume: bool, head: Row) -> None:
        """Start anew, or go on; the first line says what was run, and must be the same to go on."""
        kept = self.rows if resume else []
        if kept and kept[0] != head:
            raise SpecError(
                f"{self.path} was begun with {kept[0]}, not {head}; leave out --resume to start anew"
            )
        self.rows = kept or [head]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(_line(row) for row in self.rows), encoding="utf-8")

    def add(self, rows: Iterable[Row]) -> None:
        """Append some."""
        new = list(rows)
        if new and not self._is_named:
            new.insert(0, {"kind": "machine", **machine.describe()})
            self._is_named = True
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(_line(row) for row in new)
        self.rows += new

    def done(self) -> dict[Key, set[str]]:
        """Return the policies that each cell has."""
        found: dict[Key, set[str]] = defaultdict(set)
        for row in self.rows:
            if "policy" in row:
                found[key(row)].add(str(row["policy"]))
        return found


def cells(rows: Iterable[Row]) -> dict[Key, dict[str, Row]]:
    """Return, by cell, the row of each policy, with the figures of rows that refer to another's filled in."""
    found: dict[Key, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if "policy" in row:
            found[key(row)][str(row["policy"])] = row
    return {
        cell: {
            name: {**policies[str(row["as"])], **row} if "as" in row else row
            for name, row in policies.items()
        }
        for cell, policies in found.items()
    }


def _read(path: Path) -> Iterator[Row]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not line.endswith("\n"):
                return
            raise SpecError(f"{path}, line {number}: {error}") from error


def _line(row: Row) -> str:
    return json.dumps(row, separators=(",", ":")) + "\n"
