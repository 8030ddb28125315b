"""What the policy decides is wanted in the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from regrain_watchdog.gateway.plane import autoscale
from regrain_watchdog.gateway.plane.autoscale import Autoscaler
from regrain_watchdog.gateway.plane.functions import Functions
from regrain_watchdog.gateway.plane.hosting import Hosting
from regrain_watchdog.gateway.plane.kinds.redirect import RedirectInstance
from regrain_watchdog.gateway.spec import BUILT_IN, Deployment
from regrain_watchdog.gateway.store import Store

REDIRECT = BUILT_IN["theaxer/redirector"]
SCALE = "com.openfaas.scale."


class Answered:
    """Takes a response."""

    def response_empty(self, status: int, headers: object) -> None:
        pass


async def redirecting(folder: Path, labels: dict[str, str]) -> tuple[Store, Functions, Hosting]:
    """A function that redirects, with these labels, as the store and the front have it."""
    store = Store(folder / "gateway.db")
    functions = Functions(
        store, lambda function, _: RedirectInstance(function), lambda *key: folder / ".".join(key)
    )
    deployment = Deployment(
        service="red", image=REDIRECT.name, env_vars={"destination": "http://x"}, labels=labels
    )
    store.put(deployment.validated(), REDIRECT)
    await functions.reconcile()
    [hosting] = functions.all()
    return store, functions, hosting


def test_many_requests_add_replicas_within_the_bounds(tmp_path: Path) -> None:
    async def scenario() -> int:
        store, functions, hosting = await redirecting(tmp_path, {f"{SCALE}max": "3", f"{SCALE}target": "1"})
        scaler = Autoscaler(functions, store)
        await scaler.look()
        for _ in range(100):
            await hosting.serve(None, Answered())  # type: ignore[arg-type]
        await scaler.look()
        function = store.function("red", "openfaas-fn")
        await functions.stop(0.0)
        store.close()
        assert function is not None
        return function.replicas

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == 3


def test_replicas_that_somebody_asked_for_meanwhile_stay(tmp_path: Path) -> None:
    async def scenario() -> int:
        store, functions, hosting = await redirecting(
            tmp_path, {f"{SCALE}zero": "true", f"{SCALE}zero-duration": "1s"}
        )
        while hosting.have.busy:
            await asyncio.sleep(0)
        hosting.asked -= 3600.0
        store.scale("red", "openfaas-fn", 5)

        await Autoscaler(functions, store).look()

        function = store.function("red", "openfaas-fn")
        await functions.stop(0.0)
        store.close()
        assert function is not None
        return function.replicas

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == 5


def test_a_version_that_serves_in_place_of_a_broken_one_does_not_go_to_sleep(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        store = Store(tmp_path / "gateway.db")
        functions = Functions(
            store, lambda function, _: RedirectInstance(function), lambda *key: tmp_path / ".".join(key)
        )
        scaler = Autoscaler(functions, store)
        wanted: list[int] = []
        for destination in ("http://x", "", "http://y"):
            deployment = Deployment(
                service="red",
                image=REDIRECT.name,
                env_vars={"destination": destination},
                labels={f"{SCALE}zero": "true", f"{SCALE}zero-duration": "1s"},
            )
            store.put(deployment.validated(), REDIRECT)
            await functions.reconcile()
            [hosting] = functions.all()
            while hosting.have.busy:
                await asyncio.sleep(0)
            hosting.asked -= 3600.0

            await scaler.look()

            function = store.function("red", "openfaas-fn")
            assert function is not None
            wanted.append(function.replicas)
            store.scale("red", "openfaas-fn", 1)
        await functions.stop(0.0)
        store.close()
        return wanted

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == [0, 1, 0]


def test_a_look_that_fails_is_told_and_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(autoscale, "PERIOD", 0.0)
    looks: list[int] = []

    class Odd(RedirectInstance):
        """Its processes cannot be told."""

        def pids(self) -> list[int]:
            looks.append(1)
            raise ValueError("odd")

    async def scenario() -> None:
        store = Store(tmp_path / "gateway.db")
        functions = Functions(store, lambda function, _: Odd(function), lambda *key: tmp_path / ".".join(key))
        deployment = Deployment(service="red", image=REDIRECT.name, env_vars={"destination": "http://x"})
        store.put(deployment.validated(), REDIRECT)
        await functions.reconcile()
        scaling = asyncio.create_task(Autoscaler(functions, store).keep())
        while len(looks) < 2 and not scaling.done():
            await asyncio.sleep(0)
        scaling.cancel()
        await asyncio.wait([scaling])
        assert scaling.cancelled()
        await functions.stop(0.0)
        store.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))

    assert "ValueError: odd" in caplog.text


@pytest.mark.parametrize("what", ["pids", "tally"])
def test_one_that_is_odd_is_told_of_once_and_keeps_no_other_from_being_scaled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def odd() -> None:
        raise ValueError("odd")

    async def scenario() -> list[int]:
        store = Store(tmp_path / "gateway.db")
        functions = Functions(
            store, lambda function, _: RedirectInstance(function), lambda *key: tmp_path / ".".join(key)
        )
        for name in ("odd", "red"):
            deployment = Deployment(
                service=name,
                image=REDIRECT.name,
                env_vars={"destination": "http://x"},
                labels={f"{SCALE}max": "3", f"{SCALE}target": "1"},
            )
            store.put(deployment.validated(), REDIRECT)
        await functions.reconcile()
        hostings = functions.all()
        while any(one.have.busy for one in hostings):
            await asyncio.sleep(0)
        setattr(hostings[0].instance, what, odd)
        scaler = Autoscaler(functions, store)
        await scaler.look()
        for _ in range(100):
            await hostings[1].serve(None, Answered())  # type: ignore[arg-type]
        await scaler.look()
        found = [function.replicas for function in store.functions()]
        await functions.stop(0.0)
        store.close()
        return found

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == [1, 3]
    assert caplog.text.count("function odd.openfaas-fn cannot be scaled") == 1
    assert "ValueError: odd" in caplog.text
