"""Steps of many tasks are one transaction, and what was told to be kept is kept."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.database import Database, StoreError
from regrain_watchdog.gateway.later.commits import Commits
from regrain_watchdog.gateway.later.table import Table

SCHEMA = "CREATE TABLE IF NOT EXISTS told (word TEXT) STRICT"
WRITER = """
import asyncio, random, sys
from pathlib import Path
from regrain_watchdog.gateway.later.call import Call
from regrain_watchdog.gateway.later.later import Later
from regrain_watchdog.gateway.later.table import Table

async def main(path, run):
    later = Later(Table(path), None, random.Random(0))
    async def accept(caller):
        for number in range(10**6):
            name = f"{run}.{caller}.{number}"
            request = dict(method="POST", path="/", query="", headers={}, body=name.encode())
            await later.accept(Call(id=name, namespace="n", function="f", **request))
            sys.stdout.write(name + "\\n")
            sys.stdout.flush()
    await asyncio.gather(*(accept(caller) for caller in range(20)))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def say(word):
    return lambda db: db.execute("INSERT INTO told VALUES (?)", (word,)).lastrowid


def test_what_gathers_is_written_at_once(path):
    database = Database(path, SCHEMA)
    changes = []

    async def run():
        commits = Commits(database)
        with database.reading() as db:
            db.set_trace_callback(changes.append)
        numbers = await asyncio.gather(*(commits.write(say(str(number))) for number in range(50)))
        await commits.close()
        return numbers

    assert asyncio.run(run()) == list(range(1, 51))
    assert changes.count("COMMIT") <= 2
    database.close()


def test_a_step_that_is_refused_leaves_the_others_whole(path):
    database = Database(path, SCHEMA)

    def refuse(db):
        raise RequestError(503, "no room")

    async def run():
        commits = Commits(database)
        found = await asyncio.gather(
            *(commits.write(step) for step in (say("a"), refuse, say("b"))), return_exceptions=True
        )
        await commits.close()
        return found

    first, refused, second = asyncio.run(run())
    assert (first, second) == (1, 2)
    assert refused.detail == "no room"
    database.close()


def test_a_step_that_fails_fails_all_of_its_transaction(path):
    database = Database(path, SCHEMA)

    async def run():
        commits = Commits(database)
        steps = (say("a"), lambda db: db.execute("INSERT INTO nowhere VALUES (1)"), lambda db: 1 / 0)
        found = await asyncio.gather(*(commits.write(step) for step in steps), return_exceptions=True)
        await commits.close()
        with pytest.raises(StoreError, match="ends"):
            await commits.write(say("late"))
        return found

    found = asyncio.run(run())
    with database.reading() as db:
        assert db.execute("SELECT count(*) FROM told").fetchone() == (0,)
    assert [type(error) for error in found] == [StoreError] * 3
    database.close()


@pytest.mark.process
def test_what_was_accepted_is_there_after_kill_9(path):
    told = set()
    for run, accepted in enumerate((1, 100, 700)):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(run)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(accepted):
            told.add(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        told.update(line for line in writer.stdout.readlines() if line.endswith("\n"))
        writer.wait(60)
        writer.stdout.close()

        table = Table(path)
        with table.database.reading() as db:
            rows = db.execute("SELECT id, state FROM calls").fetchall()
        table.close()

        kept = [f"{name}\n" for name, _ in rows]
        assert len(kept) == len(set(kept))
        assert told <= set(kept)
        assert len(kept) - len(told) <= 20 * (run + 1)  # those may have been kept and not told
        assert {state for _, state in rows} == {"waiting"}
