"""Calls leave some of their disk to others."""

from __future__ import annotations

import logging
import random
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.later.call import Result
from regrain_watchdog.gateway.later.room import RESERVE, Room
from regrain_watchdog.gateway.later.table import Table

MIB = 1 << 20
GIB = 1 << 30


class Usage(NamedTuple):
    """A disk, as shutil.disk_usage tells of it."""

    total: int
    used: int
    free: int


def room(total: int, free: int) -> Room:
    return Room(Path("/state"), lambda _: Usage(total, total - free, free))


@pytest.mark.parametrize(("total", "free"), [(GIB << 4, RESERVE), (32 * MIB, 2 * MIB), (GIB, GIB)])
def test_calls_are_taken_while_the_reserve_is_there(total: int, free: int) -> None:
    room(total, free).require()


@pytest.mark.parametrize(
    ("total", "free", "said"),
    [
        (GIB << 4, RESERVE - 1, "64.0 MiB of the disk of /state are left, and 64.0 MiB stay free"),
        (32 * MIB, 2 * MIB - 1, "2.0 MiB of the disk of /state are left, and 2.0 MiB stay free"),
        (GIB, 0, "0.0 MiB of"),
    ],
)
def test_none_is_taken_where_it_is_not(total: int, free: int, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        room(total, free).require()

    assert refused.value.status is HTTPStatus.INSUFFICIENT_STORAGE
    assert said in refused.value.detail


def test_the_log_says_once_that_calls_are_refused_and_once_that_they_are_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    free = [GIB, 0, 0, 0, GIB, GIB, 0]
    moments = iter(free)
    one = Room(Path("/state"), lambda _: Usage(GIB, 0, next(moments)))

    def taken() -> bool:
        try:
            one.require()
        except RequestError:
            return False
        return True

    assert [taken() for _ in free] == [left > 0 for left in free]
    told = [record.levelname for record in caplog.records]
    assert told == ["ERROR", "INFO", "ERROR"]


def test_a_call_that_is_refused_is_not_in_the_table_and_those_before_are(path, make) -> None:
    left = [GIB]
    table = Table(path, room=Room(path.parent, lambda _: Usage(GIB, 0, left[0])))
    with table.database.writing() as db:
        table.add(db, make("kept"), 1.0)
    left[0] = 0

    with pytest.raises(RequestError), table.database.writing() as db:
        table.add(db, make("refused"), 2.0)

    assert [record.id for record in table.records(3.0)] == ["kept"]
    table.close()


def test_a_result_that_the_disk_has_no_room_for_is_told_as_such_and_those_that_fit_are_kept(
    path, make
) -> None:
    left = [GIB]
    table = Table(path, room=Room(path.parent, lambda _: Usage(GIB, 0, left[0])))
    with table.database.writing() as db:
        places = [table.add(db, make(callback="http://example.org/"), 1.0) for _ in range(2)]
    left[0] = RESERVE * 3 // 4
    found = []

    for place, size in zip(places, (RESERVE // 2, RESERVE // 8), strict=True):
        with table.database.writing() as db:
            taken = table.take(db, place.number, 2.0)
            after = taken.course.answered(200, 3.0, random.Random(0), owes=True)
            table.advance(db, place.number, taken.course, after, Result(status=200, body=bytes(size)))
            found.append(table.take(db, place.number, 4.0).result)

    assert [(result.status, len(result.body)) for result in found] == [(507, 0), (200, RESERVE // 8)]
    table.close()


def test_calls_are_taken_again_once_those_before_have_ended(path, make) -> None:
    def look(folder: Path) -> Usage:
        used = sum(file.stat().st_size for file in folder.iterdir())
        return Usage(16 * MIB, used, 16 * MIB - used)

    table = Table(path, room=Room(path.parent, look))
    places = []

    def fill() -> None:
        while True:
            with table.database.writing() as db:
                places.append(table.add(db, make(body=bytes(100_000)), 1.0))

    with pytest.raises(RequestError, match="MiB stay free"):
        fill()
    for place in places:
        with table.database.writing() as db:
            taken = table.take(db, place.number, 2.0)
            after = taken.course.answered(200, 3.0, random.Random(0), owes=False)
            table.advance(db, place.number, taken.course, after)

    with table.database.writing() as db:
        table.add(db, make("new", body=bytes(100_000)), 4.0)

    assert len(places) > 10
    assert table.records(5.0)[0].id == "new"
    table.close()
