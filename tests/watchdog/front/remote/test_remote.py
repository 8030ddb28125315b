"""The pods that a front knows."""

import asyncio

import pytest

from regrain.errors import RequestError
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.hosted import Hosted
from regrain_watchdog.front.remote.remote import Remote

LIMIT = 110.0
"""Seconds that a whole scenario has, just less than pytest gives a test."""
BEFORE, AFTER = "http://127.0.0.1:1", "http://127.0.0.1:2"
TIGHT = """
import pathlib

from regrain import App

app = App("tight")
HERE = pathlib.Path(__file__).parent


@app.stage(memory="100Ti")
def first(text: str) -> str:
    return text


@app.stage()
class second:
    def __init__(self):
        if (HERE / "broken").exists():
            raise ValueError("no second")

    def __call__(self, text: str) -> str:
        return text


@app.stage()
def third(text: str) -> str:
    return text


@app.flow
def run(text: str) -> str:
    return third(second(first(text)))
"""


def test_a_pod_that_no_function_asks_any_more_is_forgotten():
    """Pods come and go with other addresses for as long as a front serves."""

    async def come_and_go():
        remote = Remote(Config(), "a-secret-of-the-pods")
        for number in range(1, 4):
            pod, peer = remote._pod(f"http://10.0.0.{number}:8080", "v"), object()
            pod.peers.append(peer)
            assert list(remote._pods.values()) == [pod]
            pod.leave(peer)
            assert remote._pods == {}

    asyncio.run(come_and_go())


def where(app):
    """Return how many replicas each group of a plan has here, and which pods have the last one."""
    replicas = [group.replicas for group in app.route.plan.groups]
    return replicas, [peer.pod.url for peer in app.functions[-1].peers]


@pytest.mark.process
def test_an_assignment_that_fails_on_its_way_leaves_groups_to_the_pods_that_have_them(tmp_path):
    """Where memory is tight the way leads over a smaller plan, in which they have them too."""
    key, path = tmp_path / "key", tmp_path / "tight.py"
    key.write_text("a-secret-of-the-pods")
    key.chmod(0o600)
    path.write_text(TIGHT)
    config = Config(grain="fine", replicas="first=2", remote=f"third={BEFORE}", remote_key_file=str(key))

    async def scenario():
        hosted = Hosted(config, str(path))
        await hosted.load(await hosted.hello())
        await hosted.start()
        live, old = hosted.live, hosted.live.current
        (tmp_path / "broken").touch()

        assigning = asyncio.ensure_future(
            hosted.changes.assign("first+second | third", "first+second=2", {"third": [AFTER]})
        )
        while live.current is old:
            await asyncio.sleep(0.002)
        on_the_way = where(live.current)
        old.linger(on=False)  # no other pod needs it any more
        with pytest.raises(RequestError, match="no second"):
            await assigning

        assert on_the_way == ([1, 1, 0], [BEFORE])
        assert where(live.current) == ([2, 1, 0], [BEFORE])
        await hosted.drain()
        await live.stop()
        await hosted.close()

    asyncio.run(asyncio.wait_for(scenario(), LIMIT))
