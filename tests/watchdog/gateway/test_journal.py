"""A function's log is bounded, and read whole while it is written."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain_watchdog.gateway.journal import LONGEST, READ, Choice, Journal, Line, Reader, before, keep, lines

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def line(number: int, text: str = "", instance: str = "1") -> Line:
    return Line(
        name="hello",
        namespace="openfaas-fn",
        instance=instance,
        timestamp=BEGIN + timedelta(seconds=number),
        text=text or f"line {number}",
    )


def texts(found: Iterator[bytes]) -> list[str]:
    return [msgspec.json.decode(one, type=Line).text for one in b"".join(found).splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "openfaas-fn" / "hello.log"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path, file_size=1000)
    yield journal
    journal.close()


def test_what_was_written_is_read(path: Path, journal: Journal) -> None:
    for number in range(3):
        journal.write(line(number))

    assert texts(lines(path, Choice())) == ["line 0", "line 1", "line 2"]
    modes = [one.stat().st_mode & 0o777 for one in (path, path.parent, path.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_lines_that_are_written_together_are_read_one_by_one(path: Path, journal: Journal) -> None:
    journal.write(*(line(number) for number in range(15)))

    assert texts(lines(path, Choice())) == [f"line {number}" for number in range(15)]
    assert max(path.stat().st_size, before(path).stat().st_size) <= 1000


def test_the_fields_are_openfaas_own(path: Path, journal: Journal) -> None:
    journal.write(line(0, "a"))

    assert msgspec.json.decode(path.read_bytes()) == {
        "name": "hello",
        "namespace": "openfaas-fn",
        "instance": "1",
        "timestamp": "2026-01-01T00:00:00Z",
        "text": "a",
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(tail=2), ["line 4", "line 5"]),
        (Choice(since=BEGIN + timedelta(seconds=4)), ["line 4", "line 5"]),
        (Choice(instance="0"), ["line 0", "line 2", "line 4"]),
        (Choice(instance="0", tail=1), ["line 4"]),
        (Choice(since=BEGIN + timedelta(days=1)), []),
    ],
)
def test_lines_are_chosen(path: Path, journal: Journal, choice: Choice, expected: list[str]) -> None:
    for number in range(6):
        journal.write(line(number, instance=str(number % 2)))

    assert texts(lines(path, choice)) == expected


def test_a_damaged_line_is_left_out(path: Path, journal: Journal) -> None:
    journal.write(line(0))
    with path.open("ab") as file:
        file.write(b'{"name": "\xff"}\nno\n')
    journal.write(line(1))

    assert texts(lines(path, Choice())) == ["line 0", "line 1"]


def test_there_may_be_none(path: Path) -> None:
    assert list(lines(path, Choice())) == []


def test_the_log_is_bounded_and_keeps_the_last_lines(path: Path, journal: Journal) -> None:
    for number in range(100):
        journal.write(line(number))

    kept = texts(lines(path, Choice()))

    assert path.stat().st_size <= 1000
    assert before(path).stat().st_size <= 1000
    assert kept == [f"line {number}" for number in range(100 - len(kept), 100)]
    assert len(kept) >= 8
    assert sorted(path.parent.iterdir()) == [path, before(path)]


def test_a_giant_line_is_cut(path: Path, journal: Journal) -> None:
    journal.write(line(0, "\x00" * 10 * LONGEST))
    journal.write(line(1))

    giant, other = texts(lines(path, Choice()))

    assert len(giant) == LONGEST
    assert giant.endswith("(cut)")
    assert other == "line 1"


def test_what_is_no_line_is_left_out(path: Path, journal: Journal) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{}\n" + b"x" * (2 * READ) + b"\n\xff\n" + b'{"half of a li')
    journal.write(line(0))

    assert texts(lines(path, Choice())) == ["line 0"]


def test_a_line_that_is_being_written_is_read_when_it_is_whole(path: Path) -> None:
    data = msgspec.json.encode(line(0)) + b"\n"
    path.parent.mkdir(parents=True)
    path.write_bytes(data[:20])

    with Reader(path) as reader:
        assert list(reader.lines()) == []
        with path.open("ab") as file:
            file.write(data[20:])
        assert list(reader.lines()) == [data]
        assert list(reader.lines()) == []


@given(st.lists(st.integers(0, 4), max_size=60))
def test_a_reader_misses_no_line_and_sees_none_twice(tmp_path_factory, reads: list[int]) -> None:
    path = tmp_path_factory.mktemp("journal") / "hello.log"
    journal = Journal(path, file_size=1000)
    found: list[bytes] = []
    with Reader(path) as reader:
        number = 0
        for more in reads:
            for _ in range(more):
                journal.write(line(number))
                number += 1
            found += reader.lines()
    journal.close()

    assert texts(iter(found)) == [f"line {one}" for one in range(number)]


def test_lines_that_come_are_followed(path: Path) -> None:
    journal = Journal(path)
    journal.write(line(0))
    following = lines(path, Choice(), follow=30)
    assert texts(iter([next(following)])) == ["line 0"]

    writer = threading.Thread(target=lambda: [journal.write(line(number)) for number in range(1, 40)])
    writer.start()
    found: list[str] = []
    while len(found) < 39:
        found += texts(iter([next(following)]))
    writer.join()
    following.close()  # type: ignore[attr-defined]
    journal.close()

    assert found == [f"line {number}" for number in range(1, 40)]


def test_following_ends_by_itself(path: Path, journal: Journal) -> None:
    journal.write(line(0))

    assert texts(lines(path, Choice(), follow=0.01)) == ["line 0"]


def test_following_ends_when_whoever_reads_does(path: Path, journal: Journal) -> None:
    journal.write(line(0))
    ending = threading.Event()
    following = lines(path, Choice(), follow=3600, ending=ending)
    before = texts(iter([next(following)]))

    ending.set()

    assert before == ["line 0"]
    assert list(following) == []


def test_a_disk_that_is_full_costs_lines_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "hello.log"
    path.symlink_to("/dev/full")
    journal = Journal(path)

    for number in range(3):
        journal.write(line(number))

    assert [record.message for record in caplog.records] == [
        f"log lines are lost: {path}: No space left on device"
    ]
    journal.close()


def test_a_log_is_removed_with_its_function(path: Path, journal: Journal) -> None:
    for number in range(30):
        journal.write(line(number))

    journal.remove()

    assert list(path.parent.iterdir()) == []


def test_logs_of_functions_that_are_no_more_go(path: Path) -> None:
    others = [path.with_name("gone.log"), path.parent.with_name("red") / path.name]
    for one in (path, *others):
        one.parent.mkdir(parents=True, exist_ok=True)
        one.touch()
        before(one).touch()

    odd = path.with_name("odd.log")
    odd.mkdir()

    keep(path.parent.parent, {path})

    assert sorted(path.parent.parent.glob("*/*")) == [path, before(path), odd]


def test_where_there_are_no_logs_none_go(tmp_path: Path) -> None:
    keep(tmp_path / "none", set())
