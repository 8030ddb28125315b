"""What clients reach below /system without the control plane."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace

import pytest

from regrain_watchdog.front.credentials import BASIC, BEARER, Key
from regrain_watchdog.front.handler import CallerGoneError, Exchange, Scope
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.inside import Inside
from regrain_watchdog.gateway.plane.public import Public

PASSWORD = "a password of the gateway"
SHOWN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


class Page:
    """Stands for the API of an app: it answers whoever reaches it."""

    async def __rsgi__(self, scope, proto) -> None:
        proto.response_empty(200, [])


def asked(path: str, key: Key | None, authorization: str) -> int:
    """Return the status of the answer to a GET."""
    app = SimpleNamespace(instance=SimpleNamespace(admin=Page()))
    functions = SimpleNamespace(find=lambda named: app if named[1] == "hello" else None)
    inside = Inside(b"", 1 << 10)
    headers = {"host": "127.0.0.1", "authorization": authorization}
    scope = SimpleNamespace(method="GET", path=path, query_string="", headers=headers)
    asyncio.run(Public(functions, Counts(list), Page(), key).__rsgi__(scope, inside))
    return inside.status


@pytest.mark.parametrize("path", ["hello", "hello/status", "nobody", "nobody/status", ""])
@pytest.mark.parametrize("shown", ["", "Bearer ", "Basic nonsense"])
def test_who_does_not_know_the_password_is_not_told_which_apps_there_are(path: str, shown: str) -> None:
    assert asked(f"/system/regrain/{path}", Key(PASSWORD, (BASIC, BEARER)), shown) == 401


@pytest.mark.parametrize(
    ("path", "status"), [("hello", 308), ("hello/status", 200), ("nobody", 404), ("nobody/status", 404)]
)
def test_who_knows_it_and_who_needs_none_reaches_the_apps(path: str, status: int) -> None:
    assert asked(f"/system/regrain/{path}", Key(PASSWORD, (BASIC, BEARER)), SHOWN) == status
    assert asked(f"/system/regrain/{path}", None, "") == status


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("a fault of ours"), "500"), (CallerGoneError("nobody listens"), "499")]
)
def test_a_request_that_fails_unexpectedly_is_counted_as_what_its_caller_is_told(
    error: Exception, code: str
) -> None:
    async def serve(scope: Scope, proto: Exchange) -> None:
        raise error

    counts = Counts(list)
    functions = SimpleNamespace(find=lambda _: SimpleNamespace(serve=serve))
    scope = SimpleNamespace(method="GET", path="/function/hello", query_string="", headers={})
    public = Public(functions, counts, Page())

    with pytest.raises(type(error)):
        asyncio.run(public.__rsgi__(scope, Inside(b"", 1 << 10)))

    [family] = [one for one in counts.collect() if one.name == "gateway_function_invocation"]
    assert [sample.labels["code"] for sample in family.samples if sample.value] == [code]
