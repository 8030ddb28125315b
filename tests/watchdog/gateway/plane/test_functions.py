"""All functions follow the store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from regrain.errors import LoadError, RequestError
from regrain_watchdog.gateway.plane import functions as functions_module
from regrain_watchdog.gateway.plane import hosting
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.instance import Clear, Instance
from regrain_watchdog.gateway.plane.kinds.redirect import RedirectInstance
from regrain_watchdog.gateway.spec import BUILT_IN, Deployment, Function
from regrain_watchdog.gateway.store import Store

PATIENCE = 60.0
REDIRECT = BUILT_IN["theaxer/redirector"]
KEY = ("openfaas-fn", "red")


def deployed(destination: str = "http://x", name: str = "red", **labels: str) -> Deployment:
    named = {f"com.openfaas.scale.{label}": text for label, text in labels.items()}
    variables = {"destination": destination}
    return Deployment(service=name, image=REDIRECT.name, env_vars=variables, labels=named).validated()


def run(
    folder: Path,
    scenario: Callable[[Store, Functions], Awaitable[None]],
    kind: Callable[[Function], Instance] = RedirectInstance,
) -> None:
    async def whole() -> None:
        store = Store(folder / "gateway.db")
        functions = Functions(store, lambda function, _: kind(function), lambda *key: folder / ".".join(key))
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


def test_functions_are_served_though_what_is_kept_of_one_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(), REDIRECT)
        assert await settled(functions) == {KEY: ("ready", 1)}
        store.put(deployed(name="odd"), REDIRECT)
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.db")) as db, db:
            db.execute("UPDATE functions SET body = x'00' WHERE name = 'odd'")

        assert await settled(functions) == {KEY: ("ready", 1)}
        assert "what is wanted cannot be read" in caplog.text

    run(tmp_path, scenario)


def test_a_server_starts_once_the_removed_one_of_its_name_has_let_go_of_their_port(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(), REDIRECT)
        assert await settled(functions) == {KEY: ("ready", 1)}
        for _ in range(2):
            store.remove("red", "openfaas-fn")
            await functions.reconcile()
            store.put(deployed(), REDIRECT)
            await functions.reconcile()
            await asyncio.sleep(0)
        Server.may_end.set()

        assert await settled(functions) == {KEY: ("ready", 1)}

    Server.listening, Server.may_end = 0, asyncio.Event()
    run(tmp_path, scenario, Server)


class Server(RedirectInstance):
    """Wants a port that one at a time can have, and takes its time to end."""

    listening: int
    may_end: asyncio.Event

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self._listens = False

    async def start(self, replicas: int, clear: Clear) -> None:
        """Take the port."""
        await clear()
        if Server.listening:
            raise LoadError("something listens there already")
        Server.listening += 1
        self._listens = True
        await super().start(replicas, clear)

    async def stop(self) -> None:
        """Let go of the port."""
        if self._listens:
            await Server.may_end.wait()
            Server.listening -= 1
            self._listens = False


def test_a_request_wakes_a_function_and_the_store_knows_of_it(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(min="2"), REDIRECT)
        store.scale("red", "openfaas-fn", 0)
        assert await settled(functions) == {KEY: ("zero", 0)}
        found = functions.find(KEY)
        assert found is not None
        answered = Answered()
        await found.serve(None, answered)  # type: ignore[arg-type]
        assert await settled(functions) == {KEY: ("ready", 2)}
        function = store.function("red", "openfaas-fn")
        assert function is not None
        assert (answered.status, function.replicas) == (302, 2)

    run(tmp_path, scenario)


def test_a_function_that_wakes_has_the_replicas_that_somebody_asks_for_meanwhile(tmp_path: Path) -> None:
    async def scenario(store: Store, functions: Functions) -> None:
        Slow.may_start, Slow.starts = asyncio.Event(), asyncio.Event()
        store.put(deployed(), REDIRECT)
        store.scale("red", "openfaas-fn", 0)
        await settled(functions)
        found = functions.find(KEY)
        assert found is not None
        asked = asyncio.create_task(found.serve(None, Answered()))  # type: ignore[arg-type]
        await Slow.starts.wait()
        store.scale("red", "openfaas-fn", 5)
        Slow.may_start.set()
        await asked
        while found.have.busy:
            await asyncio.sleep(0)
        function = store.function("red", "openfaas-fn")

        assert function is not None
        assert function.replicas == 5
        assert await settled(functions) == {KEY: ("ready", 5)}

    run(tmp_path, scenario, Slow)


def test_a_function_that_did_not_start_is_tried_again_with_the_replicas_that_are_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "AGAIN", 0.0)

    async def scenario(store: Store, functions: Functions) -> None:
        store.put(deployed(""), REDIRECT)
        store.scale("red", "openfaas-fn", 3)
        assert await settled(functions) == {KEY: ("failed", 0)}
        found = functions.find(KEY)
        assert found is not None
        with pytest.raises(RequestError):
            await found.serve(None, Answered())  # type: ignore[arg-type]
        await settled(functions)
        function = store.function("red", "openfaas-fn")

        assert function is not None
        assert function.replicas == 3

    run(tmp_path, scenario)


def test_functions_that_hang_at_their_start_keep_no_others_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions_module, "TURN", 0.01)
    hanging = max(2, os.cpu_count() or 2)

    def kind(function: Function) -> Instance:
        return RedirectInstance(function) if function.deployment.service == "red" else Slow(function)

    async def scenario(store: Store, functions: Functions) -> None:
        Slow.may_start, Slow.starts = asyncio.Event(), asyncio.Event()
        for number in range(hanging):
            store.put(deployed(name=f"hangs-{number}"), REDIRECT)
        await functions.reconcile()
        await Slow.starts.wait()
        store.put(deployed(), REDIRECT)
        await functions.reconcile()
        found = functions.find(KEY)
        assert found is not None
        while found.have.busy:
            await asyncio.sleep(0)

        assert found.standing().state == "ready"
        assert [one.state for one in functions.standings()].count("starting") == hanging

    run(tmp_path, scenario, kind)


class Slow(RedirectInstance):
    """Starts when it may."""

    starts: asyncio.Event
    may_start: asyncio.Event

    async def start(self, replicas: int, clear: Clear) -> None:
        """Wait."""
        Slow.starts.set()
        await Slow.may_start.wait()
        await super().start(replicas, clear)


class Answered:
    """Takes a response."""

    def response_empty(self, status: int, headers: object) -> None:
        self.status = status
