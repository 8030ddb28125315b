"""Traces from files: times of requests, or counts by the second or minute, with errors that name the line.

A trace is a CSV file with a header. Three kinds are read: a column of times (seconds, or dates such as 2023-11-16
18:17:03.97, as in the Azure LLM traces; a column of durations can be taken off, as the Azure functions traces of 2021
need it), a column of counts or rates for each step of time, and counts in columns named 1, 2, 3, ... with a row for
each function (the Azure functions traces of 2019), which are summed up.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from regrain.errors import SpecError

Floats = NDArray[np.float64]
GAP_SECONDS, GAP_MEANS = 60.0, 20.0
"""A gap is told from so many seconds on that are so many times the mean as well."""
TOLD = 5
"""Gaps, or jumps of steps, that are told of one by one."""
DIGITS = 10
"""That a column's name has fewer of if it is the number of a step."""
COUNTED = 1 << 53
"""Requests of a trace at most: of more a float does not hold every number."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Read:
    """A trace as it was read.

    Attributes:
        span: seconds from its begin to its end.
        known: (n,) seconds of each request from the begin, in the order of rows; None for one of counts.
        counts: (steps,) expected requests in each step. exact: whether they are counts; else they are rates times step.
        step: seconds of one.
        columns: numbers of each row by name, to draw sizes and widths from.
        notes: what is unusual, and allowed.
    """

    span: float
    known: Floats | None
    counts: Floats
    exact: bool
    step: float
    columns: Mapping[str, Floats]
    notes: tuple[str, ...]

    def number(self, begin: float, end: float) -> float:
        """Return how many requests come from one second to another; of rates, in the mean."""
        if self.known is not None:
            return float(np.count_nonzero((self.known >= begin) & (self.known < end)))
        return float(self.counts @ self._inside(begin, end))

    def drawn(
        self, rng: np.random.Generator, begin: float = 0.0, end: float = math.inf, share: float = 1.0
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Draw the requests from one second to another, each with a probability: their times and rows.

        Those of counts and rates are anywhere in their step, and of no row (-1).
        """
        if self.known is not None:
            rows = np.flatnonzero((self.known >= begin) & (self.known <= end))
            if share < 1.0:
                rows = rows[rng.uniform(size=len(rows)) < share]
            return self.known[rows], rows
        inside = self._inside(begin, end)
        if self.exact:
            numbers = rng.binomial(self.counts.astype(np.int64), inside * share)
        else:
            numbers = rng.poisson(self.counts * inside * share)
        begins = np.maximum(np.arange(len(inside)), begin / self.step)
        within = np.repeat(inside, numbers)
        at = np.sort((np.repeat(begins, numbers) + within * rng.uniform(size=len(within))) * self.step)
        return at, np.full(len(at), -1)

    def _inside(self, begin: float, end: float) -> Floats:
        """Return which share of each step lies between two seconds."""
        steps = np.arange(len(self.counts))
        shares: Floats = np.minimum(steps + 1, end / self.step) - np.maximum(steps, begin / self.step)
        return shares.clip(0.0, 1.0)


class Trace(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a trace is and how it is read.

    Attributes:
        file: a CSV file with a header, relative to the scenario.
        holds: what the column holds: times of requests, or how many came in each step, or how many a second.
        column: its name; by default the first column, or, of counts, the columns 1, 2, 3 and so on.
        minus: a column of seconds that is taken off the times.
        step: seconds between two rows (or numbered columns) of counts and rates.
        sort: whether times may be in any order.
    """

    file: str
    holds: Literal["times", "counts", "rates"] = "times"
    column: str = ""
    minus: str = ""
    step: float = 60.0
    sort: bool = False

    def __post_init__(self) -> None:
        """Refuse steps that take no time."""
        if not (math.isfinite(self.step) and self.step > 0):
            raise SpecError(f"step must be seconds above 0, was {self.step:g}")

    def read(self) -> Read:
        """Read it; SpecError names the file, the line and what is allowed."""
        table = _Table.read(Path(self.file))
        if self.holds == "times":
            return self._times(table)
        if not self.column and self.holds == "counts" and (numbered := table.steps()):
            counts = np.array([table.numbers(name).sum() for name in numbered])
        else:
            counts = table.numbers(self.column or table.first)
        if self.holds == "rates":
            counts = counts * self.step
        elif (counts % 1 != 0).any():
            raise SpecError(f'{self.file}: counts must be whole numbers; for rates say holds = "rates"')
        if not counts.sum() <= COUNTED:
            raise SpecError(
                f"{self.file}: {counts.sum():.4g} requests are more than the {COUNTED} that a trace may have"
            )
        notes = (*table.notes, *_steps_missing(table, self.column))
        span = len(counts) * self.step
        exact = self.holds == "counts"
        return Read(
            span=span, known=None, counts=counts, exact=exact, step=self.step, columns={}, notes=notes
        )

    def _times(self, table: _Table) -> Read:
        at = table.times(self.column or table.first)
        if self.minus:
            at = at - table.numbers(self.minus)
        back = np.flatnonzero(np.diff(at) < 0)
        order = np.argsort(at, kind="stable")
        if len(back) and not self.sort:
            raise SpecError(
                f"{self.file}, line {table.lines[back[0] + 1]}: this request comes before the one above; "
                "say sort = true if that is meant"
            )
        at = at[order] - at[order[0]]
        columns = _Columns(table, order)
        return Read(
            span=float(at[-1]),
            known=at,
            counts=np.empty(0),
            exact=True,
            step=0.0,
            columns=columns,
            notes=(*table.notes, *_gaps(at)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Columns(Mapping[str, Floats]):
    """The columns whose first cell is a number, in the order of requests.

    The other cells are read where a column is asked for: what nobody draws from may hold anything.
    """

    table: _Table
    order: NDArray[np.intp]

    def __getitem__(self, name: str) -> Floats:
        if name not in set(self):
            raise KeyError(name)
        return self.table.numbers(name)[self.order]

    def __iter__(self) -> Iterator[str]:
        return filter(self.table.is_numeric, self.table.header)

    def __len__(self) -> int:
        return len(list(iter(self)))


@dataclass(frozen=True, slots=True)
class _Table:
    """A CSV file: its header, the cells below, on which line each row ends, and what is to be said of it."""

    file: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, file: Path) -> _Table:
        try:
            with file.open(newline="", encoding="utf-8-sig") as text:
                reader = csv.reader(text)
                found = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SpecError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        rows = [(line, row) for line, row in found if row not in ([], [""])]
        if len(rows) < 2:
            raise SpecError(f"{file} must have a header and a row at least")
        (_, header), *below = rows
        for line, row in below:
            if len(row) != len(header):
                raise SpecError(f"{file}, line {line}: {len(row)} columns, but the header has {len(header)}")
        blank = [line for line, row in found if row in ([], [""]) and line < below[-1][0]]
        notes = (f"blank lines were left out: {len(blank)}, from line {blank[0]} on",) if blank else ()
        return cls(file, header, [row for _, row in below], [line for line, _ in below], notes)

    @property
    def first(self) -> str:
        """The name of the first column; SpecError where that is a value, since the file has no header."""
        name = self.header[0]
        if self._is_number(name) or self._date(name) is not None:
            raise SpecError(f"{self.file}: the first line must name the columns; it begins with {name!r}")
        return name

    def steps(self) -> list[str]:
        """Return the columns that are named by the numbers of their steps; SpecError where one is left out."""
        names = [name for name in self.header if name.isdecimal() and len(name) < DIGITS]
        numbers = [int(name) for name in names]
        is_value = len(names) == 1 and (numbers != [1] or len(self.header) == 1 < len(self.rows))
        if is_value or any(later != one + 1 for one, later in pairwise(numbers)):
            raise SpecError(
                f"{self.file}: columns with numbers as names must be successive steps, such as 1, 2, 3; "
                f"found {', '.join(names[:TOLD])}"
            )
        return names

    def numbers(self, name: str) -> Floats:
        """Return a column of numbers, none of them negative; SpecError names what is none."""
        return np.array([self._number(name, line, cell) for line, cell in self._column(name)])

    def times(self, name: str) -> Floats:
        """Return a column of seconds or dates as seconds."""
        return np.array([self._time(name, line, cell) for line, cell in self._column(name)])

    def is_numeric(self, name: str) -> bool:
        """Whether the first cell of a column is a number."""
        return self._is_number(self.rows[0][self.header.index(name)])

    @staticmethod
    def _is_number(cell: str) -> bool:
        try:
            return math.isfinite(float(cell))
        except ValueError:
            return False

    def _column(self, name: str) -> list[tuple[int, str]]:
        if name not in self.header:
            raise SpecError(f"{self.file} has no column {name!r}; it has {', '.join(self.header)}")
        place = self.header.index(name)
        return [(line, row[place]) for line, row in zip(self.lines, self.rows, strict=True)]

    def _number(self, name: str, line: int, cell: str) -> float:
        try:
            number = float(cell)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and number >= 0):
            raise SpecError(f"{self.file}, line {line}: {name} must be a number, 0 or more; it is {cell!r}")
        return number

    @classmethod
    def _date(cls, cell: str) -> datetime | None:
        """Return the date that a cell holds; None for a number, and for what is neither."""
        try:
            return None if cls._is_number(cell) else datetime.fromisoformat(cell)
        except ValueError:
            return None

    def _time(self, name: str, line: int, cell: str) -> float:
        date = self._date(cell)
        if date is None:
            return self._number(name, line, cell)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _gaps(at: Floats) -> tuple[str, ...]:
    """Say where much longer than usual nothing came."""
    gaps = np.diff(at)
    long = np.flatnonzero(gaps > max(GAP_SECONDS, GAP_MEANS * float(gaps.mean() if len(gaps) else 0.0)))
    return _few(
        [f"nothing came for {gaps[place]:.0f} seconds after second {at[place]:.0f}" for place in long]
    )


def _steps_missing(table: _Table, column: str) -> tuple[str, ...]:
    """Say where steps are left out, if the first column has their numbers or times and another one holds the counts."""
    if not column or column == table.header[0]:
        return ()
    try:
        jumps = np.diff(table.times(table.header[0]))
    except SpecError:  # names of something else
        return ()
    usual = float(np.median(jumps)) if len(jumps) else 0.0
    return _few(
        [
            f"line {table.lines[place + 1]} is {jump:g} after the one above, where {usual:g} is usual; "
            "it was taken as the next step"
            for place, jump in enumerate(jumps)
            if jump != usual
        ]
    )


def _few(told: list[str]) -> tuple[str, ...]:
    """Return the first of many notes, and how many more there are."""
    more = (f"and {len(told) - TOLD} more like this",) if len(told) > TOLD else ()
    return (*told[:TOLD], *more)
