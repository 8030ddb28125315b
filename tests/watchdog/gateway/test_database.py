"""What is written is written whole, whoever dies meanwhile."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from regrain_watchdog.gateway.database import Database, StoreError

SCHEMA = """
CREATE TABLE IF NOT EXISTS halves (name TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO halves VALUES ('left', 0), ('right', 0);
"""
WRITER = """
import sys
from pathlib import Path
from regrain_watchdog.gateway.database import Database

database = Database(Path(sys.argv[1]), sys.argv[2])
while True:
    with database.writing() as db:
        db.execute("UPDATE halves SET number = number + 1 WHERE name = 'left'")
        db.execute("UPDATE halves SET number = number + 1 WHERE name = 'right'")
    print("committed", flush=True)
"""


def halves(database: Database) -> list[int]:
    with database.reading() as db:
        return [number for (number,) in db.execute("SELECT number FROM halves ORDER BY name")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.mark.process
def test_a_writer_that_is_killed_leaves_whole_transactions(path: Path) -> None:
    seen = 0
    for commits in (1, 7, 30):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), SCHEMA], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(commits):
            assert writer.stdout.readline() == "committed\n"
        writer.send_signal(signal.SIGKILL)
        told = commits + len(writer.stdout.readlines())
        writer.wait(60)
        writer.stdout.close()

        database = Database(path, SCHEMA)
        left, right = halves(database)
        database.close()

        assert left == right
        assert seen + told <= left <= seen + told + 1  # the last one may have been committed and not told
        seen = left


def test_a_block_that_raises_writes_nothing(path: Path) -> None:
    database = Database(path, SCHEMA)

    def fail() -> None:
        with database.writing() as db:
            db.execute("UPDATE halves SET number = 5")
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert halves(database) == [0, 0]
    database.close()


def test_writers_of_several_connections_and_threads_take_turns(path: Path) -> None:
    databases = [Database(path, SCHEMA) for _ in range(2)]

    def add(database: Database) -> None:
        for _ in range(50):
            with database.writing() as db:
                (number,) = db.execute("SELECT number FROM halves WHERE name = 'left'").fetchone()
                db.execute("UPDATE halves SET number = ?", (number + 1,))

    threads = [threading.Thread(target=add, args=(database,)) for database in databases * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert halves(databases[0]) == [200, 200]
    for database in databases:
        database.close()


def test_only_its_owner_may_read_it(path: Path) -> None:
    Database(path, SCHEMA).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_named(path: Path) -> None:
    path.write_bytes(b"hello " * 1000)

    with pytest.raises(StoreError, match=f"{path}: file is not a database"):
        Database(path, SCHEMA)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        Database(tmp_path / "nowhere" / "gateway.db", SCHEMA)


VISITOR = """
import sqlite3, sys

database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("UPDATE halves SET number = number + 1 WHERE name = 'left'")
print(*(number for (number,) in database.execute("SELECT number FROM halves ORDER BY name")))
database.close()
"""


@pytest.mark.process
def test_a_process_that_closes_the_file_takes_nothing_from_one_that_has_it_open_twice(path: Path) -> None:
    def visit() -> list[int]:
        """Write and read from another process, which closes the file."""
        told = subprocess.check_output([sys.executable, "-c", VISITOR, str(path)], text=True, timeout=60)
        return [int(number) for number in told.split()]

    first, second = Database(path, SCHEMA), Database(path, SCHEMA)
    seen = [visit()]
    for database in (first, second):
        with database.writing() as db:
            db.execute("UPDATE halves SET number = number + 1 WHERE name = 'right'")
        seen.append(visit())

    assert seen == [[1, 0], [2, 1], [3, 2]]
    assert halves(first) == halves(second) == [3, 2]
    first.close()
    second.close()
