"""A SQLite file that several processes and threads share: every write is a transaction that happens or does not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from regrain.errors import RegrainError

LEAST = (3, 37)
"""The version of SQLite that there must be: tables are STRICT."""
PATIENCE = 10.0
"""Seconds that a write waits for another process' write."""


class StoreError(RegrainError):
    """The gateway's state could not be read or written; nothing of it has changed."""


class Database:
    """A connection to a file, which is made (0600) where there is none. Threads take turns.

    What was committed survives kill -9 of any process, and a loss of power.

    Args:
        path: the file.
        schema: statements that make its tables, or do nothing where they are there.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        with self._told():
            _make(path)
            self._db = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(schema)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for one statement that reads. StoreError if it cannot."""
        with self._lock, self._told():
            yield self._db

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for a transaction: all that the block does, or nothing of it if it raises.

        Nobody else writes meanwhile, so what the block has read stays true. StoreError if it cannot be kept.
        """
        with self._lock, self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise  # a rule of the tables, which who has written it knows
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: {error}") from error


def _make(path: Path) -> None:
    """Make a file for us alone where there is none.

    One that is there is not opened: closing it would take away the locks of this process' other connections to it
    (POSIX, fcntl(2)), and another process that closes its own would remove the log which they still write.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
