"""Whom the controller of all pods asks for what, with pods in memory."""

import asyncio

import msgspec
import pytest

from regrain import App
from regrain_watchdog.control import assigner
from regrain_watchdog.control.assigner import Assigner
from regrain_watchdog.control.cluster import Switches
from regrain_watchdog.front.remote.assignee import ASSIGN, MANIFEST, WATCH
from regrain_watchdog.front.remote.line import PodError
from regrain_watchdog.policy.assignment import Standing

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
