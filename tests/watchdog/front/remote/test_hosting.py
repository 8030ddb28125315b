"""Units of a group that another pod sends, to the answer that it gets."""

import asyncio
import time

import pytest

from regrain.wire.codec import pack, unpack
from regrain.wire.frames import Fault, Parts
from regrain_watchdog.front.remote import hosting, wire
from regrain_watchdog.front.remote.peer import _check
from regrain_watchdog.front.replica import Dispatch

pytestmark = pytest.mark.process
TIMEOUT = 60.0
APP = """
import os
import pathlib
import signal

from regrain import App, RequestError

app = App("fragile", sample={"text": "sample"})
DIED = pathlib.Path(__file__).parent / "died"


@app.stage()
def fragile(text: str) -> str:
    if text == "more" and not DIED.exists():
        DIED.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "refuse":
        raise RequestError(429, "later", headers={"Retry-After": "7"})
    return text.upper()


@app.flow
def run(text: str) -> str:
    return fragile(text)
"""
WIDE = """
import os
import pathlib
import time

from regrain import App

app = App("wide", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


@app.batched(max_size=4)
def wide(texts: list[str]) -> list[str]:
    if texts != ["sample"]:
        (HERE / f"began-{os.getpid()}").touch()
        while len(list(HERE.glob("began-*"))) < 2:
            time.sleep(0.002)
    time.sleep(0.3)
    return texts


@app.flow
def run(text: str) -> str:
    return wide(text)
"""


class Guests:
    """Has one plan for everybody."""

    def __init__(self, app):
        self.app = app

    def check(self, version, epoch):
        pass

    def find(self, version, grain, group):
        return self.app, 0


def asked(*texts):
    """A frame of a unit for each text."""
    units = [
        wire.Guest(text, left=0.0, budget=0.0, firm=False, priority=5, headers=b"", values=[Parts([packed])])
        for text in texts
        if (packed := pack(text, None))
    ]
    return wire.Loading(None).sealed(wire.Ask("coarse", "fragile", units))


def test_what_died_is_no_service_that_a_pod_tells_of(standing):
    async def scenario():
        async with standing(APP) as stand:
            answered = asyncio.get_running_loop().create_future()
            guests = Guests(stand.live.current)
            hosting.host(guests, "v", 0, asked("some", "more"), answered.set_result)
            return wire.opened(await asyncio.wait_for(answered, TIMEOUT), wire.Told)[0]

    told = asyncio.run(scenario())

    assert [unpack(outcome.outputs[0].values[0], None) for outcome in told.outcomes] == ["SOME", "MORE"]
    assert [(timing.stage, timing.count, timing.calls) for timing in told.timings] == [("fragile", 2, 2)]


def test_what_a_pod_tells_of_replicas_that_ran_side_by_side_is_taken_for_true(standing):
    """Both halves of a batch, at the same time, are more seconds of work than have gone by."""

    async def scenario():
        async with standing(WIDE, replicas="2") as stand:
            app = stand.live.current
            answered = asyncio.get_running_loop().create_future()
            dispatch = Dispatch(app.functions[0], [], 8, time.monotonic())
            hosting.host(Guests(app), "v", 0, asked(*"abcdefgh"), answered.set_result)
            told = wire.opened(await asyncio.wait_for(answered, TIMEOUT), wire.Told)[0]
            dispatch.sent = time.monotonic() - max(timing.seconds for timing in told.timings) / 2
            _check(dispatch, told.outcomes, told.timings)
            return told.timings

    (timing,) = asyncio.run(scenario())

    assert (timing.stage, timing.count, timing.calls) == ("wide", 8, 2)
    assert timing.seconds >= 0.6


def test_a_pod_learns_the_headers_of_a_refusal(standing):
    async def scenario():
        async with standing(APP) as stand:
            answered = asyncio.get_running_loop().create_future()
            hosting.host(Guests(stand.live.current), "v", 0, asked("some", "refuse"), answered.set_result)
            return wire.opened(await asyncio.wait_for(answered, TIMEOUT), wire.Told)[0]

    some, refused = asyncio.run(scenario()).outcomes

    assert unpack(some.outputs[0].values[0], None) == "SOME"
    assert refused == Fault(429, "fragile", "later", {"retry-after": "7"})
