"""Calls that are run later are cancelled by their function and id, as OpenFaaS' clients do it, or by their id."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from regrain_watchdog.gateway.later.call import Call, Result
from regrain_watchdog.gateway.later.later import Later, Limits
from regrain_watchdog.gateway.later.table import Table
from regrain_watchdog.gateway.plane.deferred import Deferred
from regrain_watchdog.gateway.plane.inside import Inside


async def never(_: Call) -> Result:
    raise AssertionError("nothing is run here")


async def deleted(later: Later, path: str) -> int:
    """Return the status of a DELETE's answer."""
    scope = SimpleNamespace(method="DELETE", path=f"/async-function/{path}", query_string="", headers={})
    inside = Inside(b"", 1 << 10)
    await Deferred(SimpleNamespace(find=lambda _: None), later, Limits()).__rsgi__(scope, inside)
    return inside.status


@pytest.mark.parametrize(
    ("path", "cancelled"),
    [
        ("hello/order/7", {"hello"}),
        ("hello.dev/order/7", {"hello.dev"}),
        ("order/7", {"hello", "hello.dev", "other"}),
        ("nobody/order/7", set()),
        ("hello/nothing", set()),
        ("hello/", set()),
        ("", set()),
    ],
)
def test_a_call_is_cancelled_by_its_function_and_id_or_by_its_id(
    tmp_path: Path, path: str, cancelled: set[str]
) -> None:
    functions = {"hello": "openfaas-fn", "other": "openfaas-fn", "hello.dev": "dev"}
    table = Table(tmp_path / "gateway.db")
    later = Later(table, never, random.Random(0))

    async def run() -> int:
        for name, namespace in functions.items():
            function = name.partition(".")[0]
            request = {"method": "POST", "path": "/", "query": "", "headers": {}, "body": b""}
            await later.accept(Call(id="order/7", namespace=namespace, function=function, **request))
        return await deleted(later, path)

    status = asyncio.run(run())
    found = {
        name
        for name, namespace in functions.items()
        for record in table.records(0.0, namespace=namespace, function=name.partition(".")[0])
        if record.state == "cancelled"
    }
    table.close()

    assert (status, found) == (202 if cancelled else 404, cancelled)
