"""Calls are run later: again where that helps, in turn, told, and cancelled."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus

import pytest

from regrain.errors import RegrainError, RequestError
from regrain_watchdog.gateway.later.call import Result
from regrain_watchdog.gateway.later.course import LONGEST, TELLS

PATIENCE = 60.0


def test_a_call_is_run_as_it_came(table, make, gateway_of, answers):
    asked = []

    async def run():
        async with gateway_of(table, answers(200, asked=asked)).running() as gateway:
            await gateway.later.accept(make())
            return await gateway.reach("done")

    (record,) = asyncio.run(run())
    assert asked == [make()]
    assert (record.status, record.attempts, record.detail) == (200, 1, "")


def test_what_fails_is_run_again_after_a_while(table, make, gateway_of, answers):
    asked = []

    async def run():
        async with gateway_of(table, answers(503, 500, 302, asked=asked)).running() as gateway:
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


def test_a_function_that_asks_to_be_left_alone_is(table, make, gateway_of):
    async def busy(call) -> Result:
        return Result(status=429, headers=[("retry-after", "60")])

    async def run():
        async with gateway_of(table, busy).running() as gateway:
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
def test_what_gives_no_answer_dies_in_the_end_and_may_be_sent_again(
    table, make, error, status, detail, *, gateway_of
):
    asked = []

    async def function(call) -> Result:
        asked.append(call)
        raise error

    async def run():
        async with gateway_of(table, function).running() as gateway:
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


def test_one_that_takes_too_long_is_given_up(table, make, gateway_of):
    async def hang(call) -> Result:
        await asyncio.Event().wait()

    async def run():
        async with gateway_of(table, hang, seconds=0.01).running() as gateway:
            await gateway.later.accept(make(retries=0))
            return await gateway.reach("dead")

    (record,) = asyncio.run(run())
    assert record.detail == "there was no answer within 0.01 s"


def test_a_result_is_told_until_somebody_takes_it(table, make, gateway_of, answers):
    tried = []

    async def tell(call, result) -> int:
        tried.append(result)
        if len(tried) == 1:
            raise ConnectionRefusedError("nobody there")
        return 503 if len(tried) == 2 else 204

    async def run():
        asked = []
        async with gateway_of(table, answers(200, asked=asked), tell).running() as gateway:
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


def test_a_fault_of_ours_in_what_a_call_needs_leaves_none_under_way(table, make, gateway_of):
    async def odd(call) -> Result:
        return Result(status=200, headers=[("retry-after",)])  # no pair

    tried = []

    async def tell(call, result) -> int:
        tried.append(result)
        raise KeyError("a")

    async def run():
        async with gateway_of(table, odd, tell).running() as gateway:
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


def test_a_result_that_is_too_large_is_told_as_such(table, make, gateway_of, answers):
    async def run():
        async with gateway_of(table, answers(200), result=4).running() as gateway:
            await gateway.later.accept(make(callback="http://example.org/"))
            (record,) = await gateway.reach("done")
            return record, gateway.told

    record, told = asyncio.run(run())
    assert record.detail == "the answer has 5 bytes, of 4 that are called back"
    assert [(result.status, result.body) for _, result in told] == [(502, b"")]


def test_functions_take_turns_and_none_has_more_under_way_than_it_may(table, make, gateway_of):
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

        gateway = gateway_of(table, function, each=2, total=3)
        for name in ("many",) * 6 + ("few",) * 2:
            await gateway.later.accept(make(function=name))
        async with gateway.running():
            await gateway.until(lambda: len(order) == 3)
            gate.set()
            await gateway.reach(*["done"] * 8)

    asyncio.run(run())
    assert sorted(order[:3]) == ["few", "many", "many"]
    assert most["many"] == 2


def test_one_that_is_cancelled_is_cut_off_and_never_runs_again(table, make, gateway_of):
    async def run():
        began, cut = asyncio.Event(), asyncio.Event()

        async def function(call) -> Result:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                cut.set()

        async with gateway_of(table, function, each=1).running() as gateway:
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
