"""All functions follow the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.kinds.redirect import RedirectInstance
from regrain_watchdog.gateway.spec import BUILT_IN, Deployment
from regrain_watchdog.gateway.store import Store

PATIENCE = 60.0
REDIRECT = BUILT_IN["theaxer/redirector"]
KEY = ("openfaas-fn", "red")


def deployed(destination: str = "http://x", name: str = "red", **labels: str) -> Deployment:
    named = {f"com.openfaas.scale.{label}": text for label, text in labels.items()}
    variables = {"destination": destination}
    return Deployment(service=name, image=REDIRECT.name, env_vars=variables, labels=named).validated()


def run(folder: Path, scenario: Callable[[Store, Functions], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = Store(folder / "gateway.db")
        functions = Functions(
            store, lambda function, _: RedirectInstance(function), lambda *key: folder / ".".join(key)
        )
        async with asyncio.timeout(PATIENCE):
            await scenario(store, functions)
            await functions.stop(0.0)
        store.close()

    asyncio.run(whole())


async def settled(functions: Functions) -> dict[tuple[str, str], tuple[str, int]]:
    """Follow the store until nothing is left to be done; how functions do."""
    await functions.reconcile()
    while any(one.have.busy for one in functions.all()):
        await asyncio.sleep(0)
    return {(one.namespace, one.name): (one.state, one.replicas) for one in functions.standings()}


def test_what_is_deployed_serves_what_is_scaled_follows_and_what_is_removed_goes(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        removed: list[tuple[str, str]] = []
        kept: list[set[tuple[str, str]]] = []
        functions.removed = removed.append
        functions.kept = kept.append
        assert await settled(functions) == {}
        store.put(deployed(), REDIRECT)
        assert await settled(functions) == {KEY: ("ready", 1)}
        store.scale("red", "openfaas-fn", 3)
        assert await settled(functions) == {KEY: ("ready", 3)}
        store.scale("red", "openfaas-fn", 0)
        assert await settled(functions) == {KEY: ("zero", 0)}
        store.remove("red", "openfaas-fn")
        assert await settled(functions) == {}
        assert functions.find(KEY) is None
        assert removed == [KEY]
        while kept[-1]:
            assert await settled(functions) == {}
        assert kept == [set(), {KEY}, set()]

    run(tmp_path, scenario)


def test_a_version_that_cannot_be_is_told_until_another_one_is_deployed(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(""), REDIRECT)
        assert await settled(functions) == {KEY: ("failed", 0)}
        assert await settled(functions) == {KEY: ("failed", 0)}
        assert "destination" in functions.standings()[0].detail
        store.put(deployed(), REDIRECT)
        assert await settled(functions) == {KEY: ("ready", 1)}
        assert functions.standings()[0].detail == ""

    run(tmp_path, scenario)


def test_a_function_that_cannot_be_followed_ends_nothing_but_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(name="odd"), REDIRECT)
        await settled(functions)
        (tmp_path / "openfaas-fn.odd").mkdir()  # a log that cannot be removed
        store.remove("odd", "openfaas-fn")
        store.put(deployed(), REDIRECT)

        assert await settled(functions) == {KEY: ("ready", 1)}
        assert "odd.openfaas-fn" in caplog.text

    run(tmp_path, scenario)


def test_a_request_wakes_a_function_and_the_store_knows_of_it(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(min="2"), REDIRECT)
        store.scale("red", "openfaas-fn", 0)
        assert await settled(functions) == {KEY: ("zero", 0)}
        hosting = functions.find(KEY)
        assert hosting is not None
        answered = Answered()
        await hosting.serve(None, answered)  # type: ignore[arg-type]
        assert await settled(functions) == {KEY: ("ready", 2)}
        function = store.function("red", "openfaas-fn")
        assert function is not None
        assert (answered.status, function.replicas) == (302, 2)

    run(tmp_path, scenario)


class Answered:
    """Takes a response."""

    def response_empty(self, status: int, headers: object) -> None:
        self.status = status
