"""Calls on disk. Several processes share the file: one front runs them, the control plane lists and cancels them.

What takes a connection is one step of a transaction, so that many calls are kept by one write to the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from regrain.errors import RequestError
from regrain_watchdog.gateway.database import Database
from regrain_watchdog.gateway.later.call import Call, Record, Result
from regrain_watchdog.gateway.later.course import Course, State
from regrain_watchdog.gateway.later.room import Room
from regrain_watchdog.load.client import Target

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, namespace TEXT NOT NULL, function TEXT NOT NULL,
    created REAL NOT NULL, callback TEXT NOT NULL,
    at REAL NOT NULL, retries INTEGER NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, tells INTEGER NOT NULL,
    outcome TEXT NOT NULL, status INTEGER NOT NULL, detail TEXT NOT NULL,
    size INTEGER NOT NULL, call BLOB NOT NULL, result BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_state ON calls (state, at, size);
CREATE INDEX IF NOT EXISTS calls_by_id ON calls (id);
"""
ADD = """
INSERT INTO calls (
    id, namespace, function, created, callback,
    at, retries, state, attempts, tells, outcome, status, detail, size, call, result
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, x'')
"""
TAKE = """
SELECT at, retries, state, attempts, tells, outcome, status, detail, call, result FROM calls
WHERE number = ? AND state IN ('waiting', 'owed')
"""
ADVANCE = """
UPDATE calls SET at = ?, retries = ?, state = ?, attempts = ?, tells = ?, outcome = ?, status = ?, detail = ?
WHERE number = ? AND state = ? AND attempts = ? AND tells = ?
RETURNING namespace, function, callback
"""
SAME = """
SELECT number, at, retries, state, attempts, tells, outcome, status, detail FROM calls
WHERE id = ?1 AND ?2 IN (namespace, '') AND ?3 IN (function, '')
"""
KEEP = "UPDATE calls SET result = ?, size = size + ? WHERE number = ?"
PLACES = """
SELECT number, at, state, namespace, function, callback FROM calls WHERE state IN ('waiting', 'owed')
"""
REUSABLE = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
HELD = "SELECT count(*), total(size) FROM calls WHERE state IN ('waiting', 'running', 'owed', 'telling')"
LIST = """
SELECT at, id, namespace, function, state, attempts, created, status, callback, detail FROM calls
WHERE ?1 IN (id, '') AND ?2 IN (namespace, '') AND ?3 IN (function, '') AND ?4 IN (state, '')
ORDER BY number DESC LIMIT ?5
"""
PURGE = """
DELETE FROM calls WHERE state = ?1 AND (at < ?2 OR number IN (
    SELECT number FROM calls WHERE state = ?1 ORDER BY at DESC LIMIT -1 OFFSET ?3
))
"""
KEPT = 1000
"""Calls that are kept after they have ended, of each kind of end."""
KEPT_SECONDS = 7 * 86400.0
LISTED_AS = ("id", "namespace", "function", "state", "attempts", "created", "status", "callback", "detail")
LISTED = 1000
"""Calls that one listing holds at most."""
COURSE = tuple(field.name for field in fields(Course))
ENDED: tuple[State, ...] = ("done", "dead", "cancelled")
NONE = Result(status=0)
"""Stands for the answer of a function that gave none."""
UNKEPT = Result(status=HTTPStatus.INSUFFICIENT_STORAGE)
"""Stands for an answer that there was no room for."""
_pack = msgspec.msgpack.Encoder().encode
_call = msgspec.msgpack.Decoder(Call).decode
_result = msgspec.msgpack.Decoder(Result).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many calls may be open, and how many bytes they may have together.

    results: bytes that their results may have beyond that, so that a call's is kept where no further call is.
    """

    calls: int = 10_000
    nbytes: int = 1 << 30
    results: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Place:
    """A call that waits until `at`, and whom it keeps busy then."""

    number: int
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class Taken:
    """A call that was taken from line, and how far it is now.

    result: what its caller is to be told. place: where it waits, if it does.
    """

    call: Call
    result: Result
    course: Course
    place: Place | None


class Table:
    """The calls in a file.

    Args:
        path: of the file.
        bounds: for what is open.
        room: on the disk; that of the file where none is given.
    """

    def __init__(self, path: Path, bounds: Bounds | None = None, room: Room | None = None) -> None:
        self.database = Database(path, SCHEMA)
        self._bounds = bounds or Bounds()
        self._room = room or Room(path.parent)
        self._calls, self._nbytes = self._bounds.calls, self._bounds.nbytes
        """Those that were open when they were counted last, and all since: no fewer than there are."""

    def close(self) -> None:
        """Close the file."""
        self.database.close()

    def add(self, db: sqlite3.Connection, call: Call, now: float) -> Place:
        """Keep a call; RequestError 503 where there are as many as may be, 507 where the disk has no room for it."""
        packed = _pack(call)
        if not self._fits(len(packed)):
            self._count(db)
        if not self._fits(len(packed)):
            most = f"{self._bounds.calls} calls of {self._bounds.nbytes} bytes"
            detail = f"{self._calls} calls wait already, and no more than {most} may"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "10"})
        self._room.require(_reusable(db))
        self._calls += 1
        self._nbytes += len(packed)
        course = Course(at=now, retries=call.retries)
        whose = (call.id, call.namespace, call.function, now, call.callback)
        number = db.execute(ADD, (*whose, *astuple(course), len(packed), packed)).lastrowid or 0
        return Place(number, _key(course.state, call.namespace, call.function, call.callback), now)

    def take(self, db: sqlite3.Connection, number: int, now: float) -> Taken | None:
        """Begin what is next of a call; None where it does not wait any more."""
        row = db.execute(TAKE, (number,)).fetchone()
        if row is None:
            return None
        *course, call, result = row
        read = _call(call)
        before = _course(course)
        after = before.begun(now, owes=bool(read.callback))
        place = self.advance(db, number, before, after)
        return Taken(read, _result(result) if result else NONE, after, place)

    def advance(
        self, db: sqlite3.Connection, number: int, before: Course, after: Course, result: Result | None = None
    ) -> Place | None:
        """Keep how far a call is; None where nothing more is to be done, or where it is elsewhere by now.

        result: what its caller is to be told, where it has come just now; that it is not kept, where it has no room.
        """
        packed = b"" if result is None else _pack(result)
        refused = self._refused(db, len(packed)) if packed else ""
        if refused:
            after, packed = replace(after, detail=refused), _pack(UNKEPT)
        where = (number, before.state, before.attempts, before.tells)
        row = db.execute(ADVANCE, (*astuple(after), *where)).fetchone()
        if row is None:
            return None
        if packed:
            self._nbytes += len(packed)
            db.execute(KEEP, (packed, len(packed), number))
        if after.state in ENDED:
            self._free(db, number, after.state)
        waits = after.state in ("waiting", "owed")
        return Place(number, _key(after.state, *row), after.at) if waits else None

    def recover(self, db: sqlite3.Connection) -> int:
        """Have what was under way when the front ended wait again; return how many were."""
        found = 0
        for state, before in (("waiting", "running"), ("owed", "telling")):
            found += db.execute("UPDATE calls SET state = ? WHERE state = ?", (state, before)).rowcount
        return found

    def places(self, db: sqlite3.Connection) -> list[Place]:
        """Return all that wait."""
        rows = db.execute(PLACES)
        return [Place(number, _key(*names), at) for number, at, *names in rows]

    def unwanted(self, db: sqlite3.Connection, numbers: Collection[int]) -> list[int]:
        """Return those of these calls that were cancelled."""
        rows = db.execute("SELECT number FROM calls WHERE state = 'cancelled'")
        return [number for (number,) in rows if number in numbers]

    def cancel(self, db: sqlite3.Connection, call_id: str, now: float, of: tuple[str, str] = ("", "")) -> int:
        """Cancel the calls of an id that are open, of a namespace and a function or of any; return how many were."""
        return self._change(db, call_id, lambda course: course.cancelled(now), of)

    def resend(self, db: sqlite3.Connection, call_id: str, now: float) -> int:
        """Have the dead calls of an id wait as if they were new; return how many were."""
        return self._change(db, call_id, lambda course: course.resent(now))

    def records(
        self,
        now: float,
        *,
        call_id: str = "",
        namespace: str = "",
        function: str = "",
        state: str = "",
        limit: int = LISTED,
    ) -> list[Record]:
        """Return calls, the newest first; "" for any."""
        with self.database.reading() as db:
            rows = db.execute(LIST, (call_id, namespace, function, state, limit)).fetchall()
        return [_record(now, at, dict(zip(LISTED_AS, row, strict=True))) for at, *row in rows]

    def purge(self, db: sqlite3.Connection, now: float) -> None:
        """Remove what ended long ago, and what ended before as many others as are kept."""
        for state in ENDED:
            db.execute(PURGE, (state, now - KEPT_SECONDS, KEPT))

    def _fits(self, nbytes: int) -> bool:
        return self._calls < self._bounds.calls and self._nbytes + nbytes <= self._bounds.nbytes

    def _refused(self, db: sqlite3.Connection, nbytes: int) -> str:
        """Return why a result of so many bytes is not kept, "" where it is."""
        most = self._bounds.nbytes + self._bounds.results
        if self._nbytes + nbytes > most:
            self._count(db)
        if self._nbytes + nbytes > most:
            return f"the answer was not kept: it has {nbytes} bytes, and calls have up to {most} together"
        if not self._room.takes(nbytes, _reusable(db)):
            return f"the answer was not kept: the disk has no room for its {nbytes} bytes"
        return ""

    def _count(self, db: sqlite3.Connection) -> None:
        self._calls, self._nbytes = db.execute(HELD).fetchone()

    def _change(
        self,
        db: sqlite3.Connection,
        call_id: str,
        step: Callable[[Course], Course | None],
        of: tuple[str, str] = ("", ""),
    ) -> int:
        rows = db.execute(SAME, (call_id, *of)).fetchall()
        found = 0
        for number, *row in rows:
            before = _course(row)
            after = step(before)
            if after is not None:
                self.advance(db, number, before, after)
                found += 1
        return found

    def _free(self, db: sqlite3.Connection, number: int, state: State) -> None:
        """Let go of what nobody needs any more; one that is dead may be wanted again."""
        db.execute("UPDATE calls SET result = x'', size = length(call) WHERE number = ?", (number,))
        if state != "dead":
            db.execute("UPDATE calls SET call = x'', size = 0 WHERE number = ?", (number,))


def _reusable(db: sqlite3.Connection) -> int:
    """Return the bytes of the file that hold nothing any more."""
    [(nbytes,)] = db.execute(REUSABLE)
    return int(nbytes)


def _key(state: str, namespace: str, function: str, callback: str) -> str:
    """Return what a call that waits will keep busy: its function, or whoever is told its result."""
    if state == "owed":
        target = Target.of(callback)
        return f"{target.host}:{target.port}"
    return f"{namespace}/{function}"


def _course(row: Sequence[Any]) -> Course:
    return Course(**dict(zip(COURSE, row, strict=True)))


def _record(now: float, at: float, named: dict[str, Any]) -> Record:
    moment = datetime.fromtimestamp(at, UTC)
    created = named.pop("created")
    return Record(
        **named,
        age=max(0.0, now - created),
        created=datetime.fromtimestamp(created, UTC),
        due=moment if named["state"] in ("waiting", "owed") else None,
        ended=moment if named["state"] in ENDED else None,
    )
