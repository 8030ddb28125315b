"""Whom the controller of all pods asks for what, with pods in memory."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from regrain import App
from regrain.plan import Group
from regrain_watchdog.control import assigner
from regrain_watchdog.control.assigner import GONE, LOOK, Assigner
from regrain_watchdog.control.cluster import Decided, Switches
from regrain_watchdog.front.remote.assignee import ASSIGN, MANIFEST, WATCH, Assign
from regrain_watchdog.front.remote.line import PodError
from regrain_watchdog.policy.assignment import Assignment, Standing

app = App("one")


@app.stage()
def look(x: int) -> int:
    return x


@app.flow
def one(x: int) -> int:
    return look(x)


MANIFEST_OF_IT = app.manifest()


@pytest.fixture
def asked(monkeypatch):
    """The questions to pods, of which one has never been ready."""
    questions = []

    class Pod:
        def __init__(self, url, _terms):
            self.url = url

        async def ask(self, _method, path, _body=b"", **_):
            questions.append((self.url, path))
            if path == MANIFEST:
                return msgspec.json.encode(MANIFEST_OF_IT)
            if path == WATCH:
                raise PodError("not here", ran=False, gone=False)
            return msgspec.json.encode(
                Standing(
                    version=MANIFEST_OF_IT.digest,
                    epoch=0,
                    oldest=0,
                    grain="",
                    ready=self.url == "serves",
                    draining=False,
                    ending=0,
                )
            )

    monkeypatch.setattr(assigner, "Line", Pod)
    return questions


def test_a_pod_that_has_never_served_is_not_planned_with(asked):
    async def pods():
        return ["serves", "starts"]

    async def look():
        switches = Switches(predictor="analytic", period=15.0)
        await Assigner("secret", pods, lambda: None, patience=60.0, adapt=switches).look()

    asyncio.run(look())
    assert [url for url, path in asked if path == ASSIGN][:2] == ["serves", "starts"]
    assert [url for url, path in asked if path == WATCH] == ["serves"]


@pytest.mark.parametrize(
    "content", [None, b"", b'{"app": "on', b'{"app": "\xff"}'], ids=["gone", "empty", "half", "no text"]
)
def test_a_profile_that_cannot_be_read_any_more_is_planned_without(asked, tmp_path, caplog, content):
    """It could when the controller began; here a version's first pod appears later."""
    profile = tmp_path / "profile.json"
    if content is not None:
        profile.write_bytes(content)

    async def pods():
        return ["serves"]

    async def look():
        switches = Switches(profile=str(profile), predictor="analytic", period=15.0)
        controller = Assigner("secret", pods, lambda: None, patience=60.0, adapt=switches)
        for _ in range(3):
            await controller.look()

    asyncio.run(look())
    assert [path for _, path in asked if path == WATCH]
    [said] = [message for message in caplog.messages if "is left alone" in message]
    assert said.startswith(str(profile))


IN_FORCE = Assignment(
    epoch=5,
    version=MANIFEST_OF_IT.digest,
    grain="look",
    homes={"look": ("a", "b", "c")},
    replicas={"look": 1},
)


class Fleet:
    """Three pods that have an assignment in force, of which some are silent, not ready or to stop, and a clock."""

    def __init__(self):
        self.now = 100.0
        self.silent, self.unready, self.draining = set(), set(), set()
        self.told = []

    def look(self, controller, seconds):
        """Have a controller look at them for some seconds."""

        async def looks():
            for _ in range(int(seconds / LOOK)):
                await controller.look()
                await asyncio.sleep(0)  # what it tells is told
                self.now += LOOK

        return looks()

    async def pods(self):
        return ["a", "b", "c"]

    def line(self, url, _terms):
        return SimpleNamespace(ask=lambda *asked, **_: self._ask(url, *asked), close=lambda: None)

    async def _ask(self, url, method, path, body=b""):
        if url in self.silent or path == WATCH:
            raise PodError("it says nothing", ran=False, gone=True)
        if path == MANIFEST:
            return msgspec.json.encode(MANIFEST_OF_IT)
        if method == "POST":
            self.told.append((url, msgspec.json.decode(body, type=Assign).assignment))
        return msgspec.json.encode(
            Standing(
                version=MANIFEST_OF_IT.digest,
                epoch=IN_FORCE.epoch,
                oldest=IN_FORCE.epoch,
                grain=IN_FORCE.grain,
                ready=url not in self.unready,
                draining=url in self.draining,
                ending=0,
                assignment=IN_FORCE,
            )
        )


@pytest.fixture
def fleet(monkeypatch):
    made = Fleet()
    monkeypatch.setattr(assigner, "Line", made.line)
    monkeypatch.setattr(assigner, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_a_pod_that_misses_the_first_looks_of_a_controller_keeps_its_groups(fleet):
    async def run():
        controller = Assigner("secret", fleet.pods, lambda: None, patience=60.0)
        fleet.silent = {"c"}
        await fleet.look(controller, 3.0)
        fleet.silent = set()
        await fleet.look(controller, 3.0)

    asyncio.run(run())
    assert fleet.told == []


def test_a_pod_that_never_answers_a_controller_loses_its_groups_after_a_while(fleet):
    async def run():
        controller = Assigner("secret", fleet.pods, lambda: None, patience=60.0)
        fleet.silent = {"c"}
        await fleet.look(controller, GONE)
        assert fleet.told == []
        await fleet.look(controller, 2 * LOOK)

    asyncio.run(run())
    assert {(url, one.epoch, one.homes["look"]) for url, one in fleet.told} == {
        ("a", 6, ("a", "b")),
        ("b", 6, ("a", "b")),
    }


def test_a_pod_that_is_not_ready_as_a_controller_begins_keeps_its_groups(fleet):
    """It has an assignment in force: what it lacks is on its way."""

    async def run():
        fleet.unready = {"c"}
        await fleet.look(Assigner("secret", fleet.pods, lambda: None, patience=60.0), 1.0)

    asyncio.run(run())
    assert fleet.told == []


def test_what_was_decided_while_no_pod_answered_is_not_assigned_once_they_do(fleet):
    async def run():
        switches = Switches(predictor="analytic", period=15.0)
        controller = Assigner("secret", fleet.pods, lambda: None, patience=60.0, adapt=switches)
        await fleet.look(controller, 1.0)
        cluster = controller._versions[MANIFEST_OF_IT.digest].cluster
        fleet.silent = {"a", "b", "c"}
        await fleet.look(controller, GONE)
        cluster.decided = Decided((Group(stages=("look",), replicas=2),), {"look": 2})
        await fleet.look(controller, 1.0)
        fleet.silent = set()
        await fleet.look(controller, 1.0)

    asyncio.run(run())
    assert fleet.told == []


def test_what_was_decided_while_no_pod_could_be_assigned_it_is_dropped_with_their_silence(fleet):
    async def run():
        switches = Switches(predictor="analytic", period=15.0)
        controller = Assigner("secret", fleet.pods, lambda: None, patience=60.0, adapt=switches)
        await fleet.look(controller, 1.0)
        cluster = controller._versions[MANIFEST_OF_IT.digest].cluster
        fleet.draining = {"a", "b", "c"}
        await fleet.look(controller, 1.0)
        cluster.decided = Decided((Group(stages=("look",), replicas=2),), {"look": 2})
        await fleet.look(controller, 1.0)
        fleet.silent, fleet.draining = {"a", "b", "c"}, set()
        await fleet.look(controller, GONE + LOOK)
        fleet.silent = set()
        await fleet.look(controller, 1.0)

    asyncio.run(run())
    assert fleet.told == []
