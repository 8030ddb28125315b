"""The stations that a load has met: all that it asks of one is worked out once, and kept for the plans to come."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from regrain_watchdog.control.learned_demand import ASK, FACTS, KINDS, PART, Asked
from regrain_watchdog.control.learned_load import Seen
from regrain_watchdog.policy.fluid import at_once
from regrain_watchdog.policy.model import PER_REQUEST, Model, Station, Work

Floats = NDArray[np.float64]

KEPT = 8192
"""Stations that are kept."""
ROOM, UNITS = 4096, 16
"""Numbers of tables, and units of a dispatch, for which there is room at first."""
NONE = np.empty((0, ASK)), np.empty((0, PART))


class Known(NamedTuple):
    """Stations as compiled functions take them.

    Attributes:
        tables: one after the other, of each stage the seconds of a call of 0, 1, .. units, by class of requests where
            these differ.
        new: (stations, ASK) those that are still to be worked out. parts: (stages, PART) what these run.
        asked: (KEPT) of those that were.
    """

    tables: Floats
    new: Floats
    parts: Floats
    asked: Asked


class Stations:
    """Stations that were met, by place."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._rows: dict[object, int] = {}
        self._stages: dict[Work, tuple[int, int]] = {}
        self._filled = 0
        self._tables = np.empty(ROOM)
        classes = len(seen.weights)
        self._asked = Asked(
            np.empty((KEPT, FACTS)), np.empty((KEPT, KINDS, classes)), np.empty((KEPT, 1 + UNITS))
        )
        self._new: list[float] = []
        self._parts: list[float] = []

    def places(self, model: Model) -> list[int]:
        """Return the places of a plan's stations; those that are new are to be worked out before another plan."""
        if len(self._rows) + len(model.stations) > KEPT:
            self._rows.clear()
            self._stages.clear()
            self._filled = 0
        self._new, self._parts = [], []
        return [self._place(station, model) for station in model.stations]

    def known(self) -> Known:
        """Return those that are known, among them the plan's whose places were asked for last."""
        new, parts = NONE
        if self._new:
            new, parts = (
                np.array(self._new, np.float64).reshape(-1, ASK),
                np.array(self._parts, np.float64).reshape(-1, PART),
            )
        return Known(self._tables, new, parts, self._asked)

    def _place(self, station: Station, model: Model) -> int:
        pool = model.pools[station.pool]
        servers = at_once(pool.servers, pool.cards, station.take)
        beside = pool.lease + station.hop
        key = station.works, station.scope, station.max_size, servers, beside
        row = self._rows.get(key)
        if row is None:
            row = self._rows[key] = len(self._rows)
            begin, differs = len(self._parts) // PART, station.scope != PER_REQUEST or len(model.sizes) > 1
            for work in station.works:
                inner = PER_REQUEST if work.scope == station.scope else work.scope
                differs = differs or inner != PER_REQUEST
                self._parts += (*self._stage(work, model), work.chunk, inner, work.cv)
            self._new += (row, station.scope, station.max_size, servers, beside, differs)
            self._new += (begin, len(self._parts) // PART)
            self._widen(station.max_size)
        return row

    def _stage(self, work: Work, model: Model) -> tuple[int, int]:
        """Return where the seconds of a stage's calls begin, and by how much further those of the next class do."""
        if work not in self._stages:
            table, stride = work.seconds[:, 0], 0
            if len(model.sizes) > 1:
                found = [np.interp(self._seen.sizes, model.sizes, row) for row in work.seconds]
                table, stride = np.array(found).T.ravel(), len(found)
            end = self._filled + len(table)
            if end > len(self._tables):
                self._tables = np.append(self._tables, np.empty(end))
            self._tables[self._filled : end] = table
            self._stages[work] = self._filled, stride
            self._filled = end
        return self._stages[work]

    def _widen(self, units: int) -> None:
        """Make room for dispatches of so many units."""
        times = self._asked.times
        if units >= times.shape[1]:
            wider = np.empty((KEPT, 1 + 2 * units))
            wider[:, : times.shape[1]] = times
            self._asked = self._asked._replace(times=wider)
