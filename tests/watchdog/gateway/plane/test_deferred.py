"""Calls that are run later are cancelled by their function and id, as OpenFaaS' clients do it, or by their id."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from regrain_watchdog.front.http1 import limits as front
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.gateway.later.call import Call, Result
from regrain_watchdog.gateway.later.later import Later, Limits
from regrain_watchdog.gateway.later.table import Table
from regrain_watchdog.gateway.plane import deferred
from regrain_watchdog.gateway.plane.deferred import Deferred
from regrain_watchdog.gateway.plane.inside import Inside

PATIENCE = 60.0


async def never(_: Call) -> Result:
    raise AssertionError("nothing is run here")


async def deleted(later: Later, path: str) -> int:
    """Return the status of a DELETE's answer."""
    scope = SimpleNamespace(method="DELETE", path=f"/async-function/{path}", query_string="", headers={})
    inside = Inside(b"", 1 << 10)
    await Deferred(SimpleNamespace(find=lambda _: None), later, Limits()).__rsgi__(scope, inside)
    return inside.status


async def posted(limits: Limits, sent: bytes) -> bytes:
    """Return the answer to a request over a connection."""
    functions = SimpleNamespace(find=lambda key: key)
    bound = socket.create_server(("127.0.0.1", 0))
    bound.setblocking(False)
    port = Port(Deferred(functions, SimpleNamespace(), limits), bound, front.Limits(), None)
    port.start()
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    writer.write(b"POST /async-function/hello HTTP/1.1\r\nHost: a\r\n" + sent)
    answer = await reader.read()
    writer.close()
    assert await port.stop(PATIENCE)
    return answer


@pytest.mark.parametrize(
    ("sent", "status", "detail"),
    [
        pytest.param(b"Content-Length: 11\r\n\r\n", 413, b'more than 10 bytes"', id="announced"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\nb\r\n" + b"x" * 11, 413, b'than 10 bytes"', id="chunks"
        ),
        pytest.param(b"Content-Length: 10\r\n\r\n", 408, b'within 0.05 s"', id="too slow"),
    ],
)
def test_a_body_that_is_refused_names_no_setting_as_its_limits_are_fixed(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, status: int, detail: bytes
) -> None:
    monkeypatch.setattr(deferred, "BODY_TIMEOUT", 0.05 if status == 408 else PATIENCE)

    answer = asyncio.run(posted(Limits(body=10), sent))

    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert detail in answer


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
