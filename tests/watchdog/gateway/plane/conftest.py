"""A function of the gateway with versions that do what a test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from regrain.errors import LoadError, SpecError
from regrain_watchdog.gateway.journal import Journal
from regrain_watchdog.gateway.plane.hosting import Hosting
from regrain_watchdog.gateway.plane.instance import Clear, Tally
from regrain_watchdog.gateway.plane.output import Log, Output
from regrain_watchdog.gateway.plane.starts import Starts
from regrain_watchdog.gateway.spec import Deployment, Function, Image

PATIENCE = 60.0


class Version:
    """An instance that starts, serves and scales when the test lets it."""

    admin = None
    measure = None

    def __init__(
        self, number: int, fails: LoadError | None, before: list[Version], *, replaces: bool, is_wrong: bool
    ) -> None:
        self.number = number
        self.replaces, self.is_wrong = replaces, is_wrong
        self.fails = fails
        self.before = before
        self.may_start = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.replicas = 0
        self.served = 0
        self.stopped = False

    async def start(self, replicas: int, clear: Clear) -> None:
        if self.replaces:
            if self.is_wrong:
                raise SpecError("exec_timeout: was 'soon'")
            await clear()
        await self.may_start.wait()
        if self.fails:
            raise self.fails
        if self.replaces and not all(one.stopped for one in self.before):
            raise LoadError("something listens there already")
        self.replicas = replicas

    async def __rsgi__(self, scope, proto) -> None:
        await self.may_answer.wait()
        assert not self.stopped
        self.served += 1

    async def scale(self, replicas: int) -> None:
        self.replicas = replicas

    async def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.stopped = True

    def tally(self) -> Tally:
        return Tally(replicas=self.replicas, available=self.replicas)

    def pids(self) -> list[int]:
        return []


class World:
    """A function and its versions, in order.

    Attributes:
        fails: how the version of a number does. replaces, is_wrong: whether one made from here on wants the port of
            the one before, and whether its settings are wrong.
    """

    def __init__(self, folder: Path, replicas: int = 1) -> None:
        self.versions: list[Version] = []
        self.fails: dict[int, LoadError] = {}
        self.replaces = self.is_wrong = False
        self.again = 0
        self.awakened = 0
        deployment = Deployment(service="a", image="a", namespace="dev")
        image = Image(name="a", kind="app")
        self.function = Function(deployment=deployment, image=image, created=1.0, replicas=replicas)
        self.hosting = Hosting(
            self.function,
            self._made,
            Log(("dev", "a"), Journal(folder / "a.log")),
            again=self._again,
            awaken=self._awaken,
            starts=Starts(2, PATIENCE),
        )

    def _made(self, function: Function, output: Output) -> Version:
        number = len(self.versions)
        self.versions.append(
            Version(
                number,
                self.fails.get(number),
                self.versions[:],
                replaces=self.replaces,
                is_wrong=self.is_wrong,
            )
        )
        return self.versions[-1]

    def _again(self) -> None:
        self.again += 1

    def _awaken(self, hosting: Hosting) -> None:
        self.awakened += 1
        hosting.scale(1)

    def ask(self) -> asyncio.Task[None]:
        return asyncio.ensure_future(self.hosting.serve(None, None))

    async def started(self) -> Version:
        """Start the function as it is wanted, and wait until it is ready or has failed."""
        self.hosting.update(self.function)
        return await self.settled(1)

    async def busy(self) -> tuple[Version, asyncio.Task[None]]:
        """Start the function, and wait until a request is under way."""
        version, asked = await self.started(), self.ask()
        await self.until(lambda: self.hosting.in_flight == 1)
        return version, asked

    async def tried(self, count: int) -> None:
        """Let so many versions start, one after the other."""
        for number in range(1, count + 1):
            await self.until(lambda number=number: len(self.versions) == number)
            self.versions[-1].may_start.set()

    async def settled(self, number: int) -> Version:
        """Let the version of this number start, and wait until it is ready or has failed."""
        await self.until(lambda: len(self.versions) == number)
        self.versions[-1].may_start.set()
        await self.until(lambda: not self.hosting.have.busy)
        return self.versions[-1]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for what is about to come true."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await asyncio.sleep(0)


@pytest.fixture
def hosted(tmp_path: Path) -> Callable[[Callable[[World], Awaitable[None]]], None]:
    """Run a scenario with a function of its own."""

    async def whole(scenario: Callable[[World], Awaitable[None]]) -> None:
        async with asyncio.timeout(PATIENCE):
            world = World(tmp_path)
            await scenario(world)
            await world.hosting.stop(0.0)

    return lambda scenario: asyncio.run(whole(scenario))
