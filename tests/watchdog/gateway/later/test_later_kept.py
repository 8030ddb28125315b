"""Calls that are run later are kept: none is taken that cannot be, and none is lost, not by a kill -9 either."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain_watchdog.gateway.later.call import Result
from regrain_watchdog.gateway.later.table import Bounds, Table

PATIENCE = 60.0


def test_what_is_too_large_or_too_much_or_cannot_be_kept_is_refused(path, make, gateway_of, answers):
    table = Table(path, Bounds(calls=1))

    async def run():
        later = gateway_of(table, answers(200), body=4).later
        refused = []
        for call in (make(body=b"large"), make(), make()):
            try:
                await later.accept(call)
            except RequestError as error:
                refused.append(error)
        return refused

    large, full = asyncio.run(run())
    assert large.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert large.detail == "the body of a call that is run later has up to 4 bytes, this one 5"
    assert full.status is HTTPStatus.SERVICE_UNAVAILABLE
    table.close()


def test_a_full_disk_refuses_calls_and_loses_none(path, make, gateway_of, answers):
    table = Table(path)
    with table.database.reading() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 20}")

    async def run():
        accepted, refused, asked = [], [], []
        gateway = gateway_of(table, answers(200, asked=asked))
        for number in range(100):
            try:
                await gateway.later.accept(make(f"{number}", body=b"a" * 3000))
                accepted.append(f"{number}")
            except RequestError as error:
                refused.append(error)
        with table.database.reading() as db:
            db.execute(f"PRAGMA max_page_count = {pages + 200}")
        async with gateway.running():
            await gateway.reach(*["done"] * len(accepted))
        return accepted, refused, [call.id for call in asked]

    accepted, refused, asked = asyncio.run(run())
    assert accepted
    assert refused
    assert asked == accepted
    assert {error.status for error in refused} == {HTTPStatus.INSUFFICIENT_STORAGE}
    assert "full" in refused[0].detail
    table.close()


def test_an_end_that_cannot_be_kept_at_once_is_kept_when_it_can(path, make, monkeypatch, caplog, gateway_of):
    monkeypatch.setattr("regrain_watchdog.gateway.later.later.UNKEPT", 0.01)
    monkeypatch.setattr("regrain_watchdog.gateway.database.PATIENCE", 0.05)
    impatient = Table(path)
    other = sqlite3.connect(path, isolation_level=None)
    asked = []

    async def function(call) -> Result:
        asked.append(call)
        other.execute("BEGIN IMMEDIATE")
        return Result(status=200)

    async def run():
        async with gateway_of(impatient, function).running() as gateway:
            await gateway.later.accept(make())
            await gateway.until(lambda: bool(asked))
            await gateway.until(lambda: "cannot be kept yet" in caplog.text)
            assert [record.state for record in impatient.records(0.0)] == ["running"]
            other.execute("ROLLBACK")
            await gateway.reach("done")

    asyncio.run(run())
    assert len(asked) == 1
    other.close()
    impatient.close()


def test_what_a_gateway_leaves_behind_the_next_takes_up(table, make, gateway_of, answers):
    async def hang(call) -> Result:
        await asyncio.Event().wait()

    async def run():
        async with gateway_of(table, hang, each=1).running() as gateway:
            for number in range(3):
                await gateway.later.accept(make(f"{number}"))
            await gateway.reach("waiting", "waiting", "running")
        asked = []
        async with gateway_of(table, answers(200, asked=asked)).running() as gateway:
            records = await gateway.reach("done", "done", "done")
        return [call.id for call in asked], [record.attempts for record in records]

    asked, attempts = asyncio.run(run())
    assert sorted(asked) == ["0", "1", "2"]
    assert attempts == [1, 1, 2]


def test_what_is_under_way_may_end_and_nothing_new_begins(table, make, gateway_of):
    async def run():
        gate, asked = asyncio.Event(), []

        async def function(call) -> Result:
            asked.append(call)
            await gate.wait()
            return Result(status=200)

        async with gateway_of(table, function, each=1).running() as gateway:
            for number in range(2):
                await gateway.later.accept(make(f"{number}"))
            await gateway.until(lambda: len(asked) == 1)
            await gateway.later.drain(0.01)
            gate.set()
            await gateway.later.drain(PATIENCE)
            await gateway.reach("waiting", "done")

    asyncio.run(run())


def test_a_gateway_that_has_ended_takes_nothing_more(table, make, gateway_of, answers):
    async def run():
        async with gateway_of(table, answers(200)).running() as gateway:
            await gateway.later.accept(make())
            await gateway.reach("done")
        refused = await asyncio.gather(
            gateway.later.accept(make()), gateway.later.cancel("one"), return_exceptions=True
        )
        return [error.status for error in refused]

    assert asyncio.run(run()) == [HTTPStatus.INSUFFICIENT_STORAGE] * 2
    assert len(table.records(0.0)) == 1


WORKER = """
import asyncio, random, sys
from pathlib import Path
from regrain_watchdog.gateway.later.call import Call, Result
from regrain_watchdog.gateway.later.later import Later
from regrain_watchdog.gateway.later.table import Table

RNG = random.Random(int(sys.argv[2]))

def say(word, name):
    sys.stdout.write(f"{word} {name}\\n")
    sys.stdout.flush()

async def function(call):
    await asyncio.sleep(0)
    say("ran", call.id)
    return Result(status=200)

async def tell(call, result):
    say("told", call.id)
    return 200

async def main():
    later = Later(Table(Path(sys.argv[1])), function, RNG, tell=tell)
    async def accept(caller):
        for number in range(int(sys.argv[3])):
            name = f"{sys.argv[2]}.{caller}.{number}"
            callback = "http://example.org/" if number % 2 else ""
            await later.accept(Call(id=name, namespace="n", function=f"f{caller}", method="POST", path="/", query="",
                                    headers={}, body=b"", callback=callback))
            say("accepted", name)
    await asyncio.gather(later.keep(), *(accept(caller) for caller in range(4)))

asyncio.run(main())
"""


@pytest.mark.process
def test_kill_9_under_load_loses_no_call_and_ends_none_twice(path, monkeypatch):
    monkeypatch.setattr("regrain_watchdog.gateway.later.table.KEPT", 10**6)
    lines = []
    for run, number in enumerate([60, 250, 0]):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(run), "60" if number else "0"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if number:
            lines += [worker.stdout.readline() for _ in range(number)]
        else:
            table, end = Table(path), time.monotonic() + PATIENCE
            while {record.state for record in table.records(0.0, limit=10**6)} != {"done"}:
                assert time.monotonic() < end, Counter(
                    record.state for record in table.records(0.0, limit=10**6)
                )
                time.sleep(0.05)
        worker.send_signal(signal.SIGKILL)
        lines += [line for line in worker.stdout.readlines() if line.endswith("\n")]
        worker.wait(60)
        worker.stdout.close()
    said = {word: Counter() for word in ("accepted", "ran", "told")}
    for line in lines:
        word, name = line.split()
        said[word][name] += 1
    records = {record.id: record for record in table.records(0.0, limit=10**6)}
    table.close()

    assert len(said["accepted"]) >= 20
    assert set(said["accepted"]) <= set(records)
    assert set(said["ran"]) == set(records)
    assert set(said["told"]) == {name for name, record in records.items() if record.callback}
    assert all(said["ran"][name] <= record.attempts for name, record in records.items())
    once = [name for name, record in records.items() if record.attempts == 1]
    assert len(once) > len(records) / 2
