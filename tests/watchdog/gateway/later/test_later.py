"""Calls are run later: again where that helps, in turn, told, cancelled, and after a kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest

from regrain.errors import RegrainError, RequestError
from regrain_watchdog.gateway.later.call import Result
from regrain_watchdog.gateway.later.course import LONGEST, TELLS
from regrain_watchdog.gateway.later.later import Later, Limits
from regrain_watchdog.gateway.later.table import Bounds, Table

PATIENCE = 60.0


class Gateway:
    """Runs calls of a table with a function of the test's, on a clock that the test moves."""

    def __init__(self, table: Table, function, tell=None, **limits: float) -> None:
        self.table = table
        self.now = 1000.0
        self.told: list[tuple[str, Result]] = []
        self.later = Later(
            table,
            function,
            random.Random(0),
            tell=tell or self.tell,
            limits=Limits(**limits),
            clock=lambda: self.now,
        )

    async def tell(self, call, result) -> int:
        self.told.append((call.id, result))
        return 200

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        task = asyncio.create_task(self.later.keep())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.later.changed()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.002)

    async def reach(self, *states: str) -> list:
        """Wait until the calls have these states, the newest first; return them."""
        await self.until(lambda: [record.state for record in self.table.records(self.now)] == list(states))
        return self.table.records(self.now)


def answers(*statuses: int, asked: list | None = None):
    """Return a function that answers so, the last answer for ever."""
    left = list(statuses)

    async def function(call) -> Result:
        if asked is not None:
            asked.append(call)
        return Result(status=left.pop(0) if len(left) > 1 else left[0], headers=[("a", "b")], body=b"hello")

    return function


def test_a_call_is_run_as_it_came(table, make):
    asked = []

    async def run():
        async with Gateway(table, answers(200, asked=asked)).running() as gateway:
            await gateway.later.accept(make())
            return await gateway.reach("done")

    (record,) = asyncio.run(run())
    assert asked == [make()]
    assert (record.status, record.attempts, record.detail) == (200, 1, "")


def test_what_fails_is_run_again_after_a_while(table, make):
    asked = []

    async def run():
        async with Gateway(table, answers(503, 500, 302, asked=asked)).running() as gateway:
            await gateway.later.accept(make())
            await gateway.until(lambda: len(asked) == 1)
            (record,) = await gateway.reach("waiting")
            gateway.pass_time(0.4)
            assert 0.5 <= record.due.timestamp() - 1000.0 <= 1.0
            assert record.detail == "it answered 503"
            gateway.pass_time(0.6)
            await gateway.until(lambda: len(asked) == 2)
            await gateway.reach("waiting")
            gateway.pass_time(2.0)
            return await gateway.reach("done")

    (record,) = asyncio.run(run())
    assert (record.status, record.attempts) == (302, 3)


def test_a_function_that_asks_to_be_left_alone_is(table, make):
    async def busy(call) -> Result:
        return Result(status=429, headers=[("retry-after", "60")])

    async def run():
        async with Gateway(table, busy).running() as gateway:
            await gateway.later.accept(make())
            await gateway.until(lambda: table.records(0.0)[0].status == 429)
            return table.records(0.0)

    (record,) = asyncio.run(run())
    assert record.due.timestamp() == 1060.0


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "it did not start"), 503, "it did not start"),
        (ConnectionResetError("gone"), 0, "gone"),
        (RegrainError("no replica"), 0, "no replica"),
        (KeyError("a"), 0, "the gateway failed at this: KeyError"),
        (TimeoutError(), 0, "there was no answer within 600 s"),
    ],
)
def test_what_gives_no_answer_dies_in_the_end_and_may_be_sent_again(table, make, error, status, detail):
    asked = []

    async def function(call) -> Result:
        asked.append(call)
        raise error

    async def run():
        async with Gateway(table, function).running() as gateway:
            await gateway.later.accept(make(retries=1, callback="http://example.org/"))
            await gateway.until(lambda: len(asked) == 1)
            await gateway.reach("waiting")
            gateway.pass_time(1.0)
            (record,) = await gateway.reach("dead")
            with table.database.writing() as db:
                assert table.resend(db, "one", gateway.now) == 1
            gateway.later.changed()
            await gateway.until(lambda: len(asked) == 3)
            return record, gateway.told

    record, told = asyncio.run(run())
    assert (record.attempts, record.status, record.detail) == (2, status, detail)
    assert [(name, result.status, result.body) for name, result in told] == [("one", status, b"")]


def test_one_that_takes_too_long_is_given_up(table, make):
    async def hang(call) -> Result:
        await asyncio.Event().wait()

    async def run():
        async with Gateway(table, hang, seconds=0.01).running() as gateway:
            await gateway.later.accept(make(retries=0))
            return await gateway.reach("dead")

    (record,) = asyncio.run(run())
    assert record.detail == "there was no answer within 0.01 s"


def test_a_result_is_told_until_somebody_takes_it(table, make):
    tried = []

    async def tell(call, result) -> int:
        tried.append(result)
        if len(tried) == 1:
            raise ConnectionRefusedError("nobody there")
        return 503 if len(tried) == 2 else 204

    async def run():
        asked = []
        async with Gateway(table, answers(200, asked=asked), tell).running() as gateway:
            await gateway.later.accept(make(callback="http://example.org/"))
            for number in (1, 2):
                await gateway.until(lambda number=number: len(tried) == number)
                (record,) = await gateway.reach("owed")
                assert record.detail.startswith("the callback failed: ")
                gateway.pass_time(4.0)
            return await gateway.reach("done"), asked

    _, asked = asyncio.run(run())
    assert len(asked) == 1
    assert [(one.status, one.headers, one.body) for one in tried] == [(200, [("a", "b")], b"hello")] * 3
    assert tried[0].seconds > 0.0


def test_a_fault_of_ours_in_what_a_call_needs_leaves_none_under_way(table, make):
    async def odd(call) -> Result:
        return Result(status=200, headers=[("retry-after",)])  # no pair

    tried = []

    async def tell(call, result) -> int:
        tried.append(result)
        raise KeyError("a")

    async def run():
        async with Gateway(table, odd, tell).running() as gateway:
            await gateway.later.accept(make(retries=0, callback="http://example.org/"))
            for number in range(1, TELLS + 1):
                await gateway.until(lambda number=number: len(tried) == number)
                if number < TELLS:
                    await gateway.reach("owed")
                    gateway.pass_time(LONGEST)
            return await gateway.reach("dead")

    (record,) = asyncio.run(run())
    assert (record.status, record.attempts) == (0, 1)
    assert record.detail == "the callback failed: the gateway failed at this: KeyError"


def test_a_result_that_is_too_large_is_told_as_such(table, make):
    async def run():
        async with Gateway(table, answers(200), result=4).running() as gateway:
            await gateway.later.accept(make(callback="http://example.org/"))
            (record,) = await gateway.reach("done")
            return record, gateway.told

    record, told = asyncio.run(run())
    assert record.detail == "the answer has 5 bytes, of 4 that are called back"
    assert [(result.status, result.body) for _, result in told] == [(502, b"")]


def test_functions_take_turns_and_none_has_more_under_way_than_it_may(table, make):
    busy, most, order = Counter(), Counter(), []

    async def run():
        gate = asyncio.Event()

        async def function(call) -> Result:
            busy[call.function] += 1
            most[call.function] = max(most[call.function], busy[call.function])
            order.append(call.function)
            await gate.wait()
            busy[call.function] -= 1
            return Result(status=200)

        gateway = Gateway(table, function, each=2, total=3)
        for name in ("many",) * 6 + ("few",) * 2:
            await gateway.later.accept(make(function=name))
        async with gateway.running():
            await gateway.until(lambda: len(order) == 3)
            gate.set()
            await gateway.reach(*["done"] * 8)

    asyncio.run(run())
    assert sorted(order[:3]) == ["few", "many", "many"]
    assert most["many"] == 2


def test_one_that_is_cancelled_is_cut_off_and_never_runs_again(table, make):
    async def run():
        began, cut = asyncio.Event(), asyncio.Event()

        async def function(call) -> Result:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()

        async with Gateway(table, function, each=1).running() as gateway:
            await gateway.later.accept(make("running"))
            await gateway.later.accept(make("waiting"))
            await began.wait()
            began.clear()
            assert await gateway.later.cancel("waiting") == 1
            assert await gateway.later.cancel("running") == 1
            assert await gateway.later.cancel("running") == 0
            async with asyncio.timeout(PATIENCE):
                await cut.wait()
            gateway.pass_time(1000.0)
            await gateway.reach("cancelled", "cancelled")
            assert not began.is_set()

    asyncio.run(run())


def test_what_is_too_large_or_too_much_or_cannot_be_kept_is_refused(path, make):
    table = Table(path, Bounds(calls=1))

    async def run():
        later = Gateway(table, answers(200), body=4).later
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


def test_a_full_disk_refuses_calls_and_loses_none(path, make):
    table = Table(path)
    with table.database.reading() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 20}")

    async def run():
        accepted, refused, asked = [], [], []
        gateway = Gateway(table, answers(200, asked=asked))
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


def test_an_end_that_cannot_be_kept_at_once_is_kept_when_it_can(path, make, monkeypatch, caplog):
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
        async with Gateway(impatient, function).running() as gateway:
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


def test_what_a_gateway_leaves_behind_the_next_takes_up(table, make):
    async def hang(call) -> Result:
        await asyncio.Event().wait()

    async def run():
        async with Gateway(table, hang, each=1).running() as gateway:
            for number in range(3):
                await gateway.later.accept(make(f"{number}"))
            await gateway.reach("waiting", "waiting", "running")
        asked = []
        async with Gateway(table, answers(200, asked=asked)).running() as gateway:
            records = await gateway.reach("done", "done", "done")
        return [call.id for call in asked], [record.attempts for record in records]

    asked, attempts = asyncio.run(run())
    assert sorted(asked) == ["0", "1", "2"]
    assert attempts == [1, 1, 2]


def test_what_is_under_way_may_end_and_nothing_new_begins(table, make):
    async def run():
        gate, asked = asyncio.Event(), []

        async def function(call) -> Result:
            asked.append(call)
            await gate.wait()
            return Result(status=200)

        async with Gateway(table, function, each=1).running() as gateway:
            for number in range(2):
                await gateway.later.accept(make(f"{number}"))
            await gateway.until(lambda: len(asked) == 1)
            await gateway.later.drain(0.01)
            gate.set()
            await gateway.later.drain(PATIENCE)
            await gateway.reach("waiting", "done")

    asyncio.run(run())


def test_a_gateway_that_has_ended_takes_nothing_more(table, make):
    async def run():
        async with Gateway(table, answers(200)).running() as gateway:
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
