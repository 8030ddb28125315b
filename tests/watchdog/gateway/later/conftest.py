"""Calls, and a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from regrain_watchdog.gateway.later.call import Call
from regrain_watchdog.gateway.later.table import Table

Make = Callable[..., Call]


@pytest.fixture
def make() -> Make:
    def call(call_id: str = "one", **values: object) -> Call:
        return Call(
            **{
                "id": call_id,
                "namespace": "openfaas-fn",
                "function": "hello",
                "method": "POST",
                "path": "/a b",
                "query": "q=1",
                "headers": {"x-call-id": call_id, "content-type": "text/plain"},
                "body": b"hi",
                **values,
            }
        )

    return call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


@pytest.fixture
def table(path: Path) -> Iterator[Table]:
    opened = Table(path)
    yield opened
    opened.close()
