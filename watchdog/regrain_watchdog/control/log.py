"""The decision log: one JSON object a line, each decision as it is made and, later, what came of it.

    {"kind": "decision", "time": ..., "decision": {...}}
    {"kind": "observed", "time": ..., "number": 7, "seconds": 15.0, "hit_rate": 0.97, "requests": 431, "cost": 1.84}

The file is bounded: beyond MOST bytes it becomes the file with `.1` behind its name, in place of the one before.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from regrain_watchdog.control.decision import Decision
from regrain_watchdog.control.observation import Observation

MOST = 16 << 20
"""Bytes of a file."""
_encode = msgspec.json.Encoder().encode


class Log:
    """Writes decisions and what came of them."""

    def __init__(self, path: Path, most: int = MOST) -> None:
        self._path = path
        self._most = most
        self._last: Decision | None = None
        self._hits = self._misses = 0

    def follow(self, seen: Observation, decision: Decision | None) -> None:
        """Count what ended, and write a decision down; what came of the one before goes before it."""
        self._hits += seen.hits
        self._misses += seen.misses
        if decision is None:
            return
        now = time.time()
        if self._last is not None:
            ended = self._hits + self._misses
            self._write(
                {
                    "kind": "observed",
                    "time": now,
                    "number": self._last.number,
                    "seconds": decision.at - self._last.at,
                    "hit_rate": self._hits / ended if ended else None,
                    "requests": ended,
                    "cost": decision.present.cost,
                }
            )
        self._write({"kind": "decision", "time": now, "decision": decision})
        self._last, self._hits, self._misses = decision, 0, 0

    def _write(self, entry: dict[str, object]) -> None:
        if self._path.exists() and self._path.stat().st_size >= self._most:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        with self._path.open("ab") as file:
            file.write(_encode(entry) + b"\n")
