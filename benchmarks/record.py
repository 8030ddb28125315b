"""Keep what was measured: JSON lines on disk, medians and bars on the terminal.

A run is repeated in rounds and everything that is compared takes turns within a round, because a shared
machine drifts: a ratio is taken within one run, and an absolute figure is only as good as the machine line
above it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from benchmarks import machine

RESULTS = Path(__file__).parent / "results"
FREE = {"rounds"}
"""Settings that say which rows there are, and not what a row means; each benchmark may name more."""
HOW = {"out", "resume"}
"""Options that are no settings."""
Record = dict[str, object]


def arguments(name: str, doc: str, *, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """Return the flags that every benchmark has; `rounds` and `seconds` are those of its long form."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc.splitlines()[0],
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"of each load, default {seconds}")
    parser.add_argument("--seed", type=int, default=1, help="of whatever is random, default 1")
    parser.add_argument(
        "--short", action="store_true", help="one round of short loads, not recorded unless --out"
    )
    parser.add_argument("--out", type=Path, help=f"JSON lines, default benchmarks/results/{name}.jsonl")
    parser.add_argument(
        "--resume", action="store_true", help="keep what --out holds and measure what it lacks"
    )
    return parser


class Results:
    """The lines of one run. With no path nothing is kept but for the summary at the end."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[Record] = []

    @classmethod
    def open(cls, name: str, options: argparse.Namespace, *, free: Collection[str] = ()) -> Results:
        """Start (or resume) the run that the flags ask for.

        Each time a line of the machine comes first, with the settings: every option but paths and what was not given.

        Args:
            name: of the benchmark.
            options: the flags. A run is gone on with only if they are those it was begun with.
            free: more options than FREE that may differ all the same.

        Raises:
            SystemExit: what is recorded was run with another setting.
        """
        if options.short:
            options.rounds, options.seconds = 1, min(options.seconds, 1.0)
        settings = _settings(options)
        path = options.out or (None if options.short else RESULTS / f"{name}.jsonl")
        results = cls(path)
        if path and options.resume and path.exists():
            results._take_up(path, {key: settings[key] for key in settings.keys() - FREE - set(free)})
        elif path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
        results.add({"kind": "machine", "benchmark": name, **settings, **machine.describe()})
        return results

    def _take_up(self, path: Path, settings: Record) -> None:
        """Read what there is, if it was run with these settings; a last line that a kill cut short is measured anew."""
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            path.write_text("".join(lines[:-1]), encoding="utf-8")
            lines.pop()
        self.lines = [json.loads(line) for line in lines]
        for line in self.lines:
            if line["kind"] == "machine":
                compare(path, line, settings)

    def add(self, record: Record) -> None:
        """Append a line and print it."""
        self.lines.append(record)
        print(" ".join(f"{key}={_short(value)}" for key, value in record.items()), flush=True)
        if self.path:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")

    def has(self, **key: object) -> bool:
        """Whether a line with these values is there already."""
        return any(_matches(line, key) for line in self.lines)

    def values(self, field: str, **key: object) -> list[float]:
        """Return a field of all lines with these values, in the order they were measured."""
        return [
            float(line[field]) for line in self.lines if _matches(line, key) and line.get(field) is not None
        ]

    def median(self, field: str, **key: object) -> float:
        """Return the median over the rounds; NaN where nothing was measured."""
        found = self.values(field, **key)
        return statistics.median(found) if found else float("nan")

    def best(self, field: str, choose: Callable[[Iterable[float]], float] = min, **key: object) -> float:
        """Return the best round; NaN where nothing was measured."""
        found = self.values(field, **key)
        return choose(found) if found else float("nan")

    def bar(
        self, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """Write down a bar of the project and whether this run meets it."""
        limit = at_most if at_most is not None else at_least
        met = value <= at_most if at_most is not None else at_least is not None and value >= at_least
        sign = "<=" if at_most is not None else ">="
        self.add(
            {"kind": "bar", "name": name, "value": round(value, 3), "bar": f"{sign} {limit:g}", "met": met}
        )


def progress(text: str) -> None:
    """Say on stderr how far a long part is."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a markdown table."""
    cells = [list(head), *([_short(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def compare(path: Path, recorded: Mapping[str, object], settings: Mapping[str, object]) -> None:
    """Compare what a machine line says of the settings; one of before may lack some.

    Raises:
        SystemExit: it has another value, with a sentence that names both.
    """
    for name, given in settings.items():
        if name in recorded and recorded[name] != given:
            flag = f"--{name.replace('_', '-')}"
            raise SystemExit(
                f"{path} was recorded with {flag} {recorded[name]}, this run is with {flag} {given}: "
                "give what was recorded or another --out, or start anew without what there is"
            )


def _settings(options: argparse.Namespace) -> Record:
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(options).items()
        if name not in HOW and value is not None and not isinstance(value, Path)
    }


def _matches(line: Mapping[str, object], key: Mapping[str, object]) -> bool:
    return all(line.get(name) == value for name, value in key.items())


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
