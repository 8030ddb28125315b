"""Units of one step that an app runs for another front."""

import asyncio
import time

import pytest

from regrain.errors import RequestError
from regrain.wire.codec import pack, unpack
from regrain.wire.frames import Parts
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.flight import leaves
from regrain_watchdog.front.remote.visit import Visit

pytestmark = pytest.mark.process
TIMEOUT = 60.0
APP = """
import pathlib
import time

from regrain import App

app = App("pair", sample={"text": "sample"})
HERE = pathlib.Path(__file__).parent


@app.stage()
def first(text: str) -> str:
    if text[:4] == "gate":
        (HERE / "waits").touch()
        while not (HERE / "gate").exists():
            time.sleep(0.002)
    return text[:4]


@app.stage()
def second(told: str) -> str:
    return told * 2


@app.flow
def run(text: str) -> str:
    return second(first(text))
"""
LONG = " " * 100_000
"""Makes a text one that lies in shared memory."""


def visit(app, text):
    """A unit of the first step, whose input has landed in the app's memory."""
    writer = app.crew.pool.writer()
    parts = Parts([pack(text + LONG, writer)])
    for extent in writer.extents:
        held = sum(leaf.generation == extent.generation for leaf in leaves(parts.values))
        app.crew.pool.commit(extent, held)
    call = Call(id="visit", values={}, headers=b"", arrived=time.monotonic())
    return Visit(app.route, call, place=0, given=[parts])


class Told:
    """What is told of some units, and what they had given by then."""

    def __init__(self, visits):
        self.visits, self.errors, self.given, self.times = visits, None, [], 0
        self.over = asyncio.Event()

    def __call__(self, errors):
        self.errors, self.times = errors, self.times + 1
        outcomes = [
            visit.outcome() for visit, error in zip(self.visits, errors, strict=True) if error is None
        ]
        self.given = [unpack(outcome.outputs[0].values[0], None) for outcome in outcomes]
        self.over.set()


def hosted(standing, scenario):
    """Run a scenario with an app of two steps; afterwards it holds no more memory than before."""

    async def run():
        async with standing(APP, "first | second") as stand:
            app = stand.live.current
            before = app.crew.pool.in_use
            await asyncio.wait_for(scenario(app), TIMEOUT)
            while app.crew.pool.in_use > before or app.in_flight:
                await asyncio.sleep(0)

    asyncio.run(run())


def test_units_are_told_of_once_all_have_ended(standing):
    async def scenario(app):
        visits = [visit(app, text) for text in ("some", "more")]
        told = Told(visits)

        app.host(visits, told)

        assert not told.times
        await told.over.wait()
        assert (told.errors, told.given, told.times) == ([None, None], ["some", "more"], 1)
        assert not app.in_flight

    hosted(standing, scenario)


def test_nobody_is_told_of_units_that_were_given_up(standing, tmp_path):
    async def scenario(app):
        visits = [visit(app, text) for text in ("gate", "more")]
        told = Told(visits)
        give_up = app.host(visits, told)
        while not (tmp_path / "waits").exists():
            await asyncio.sleep(0)

        give_up()

        assert not app.in_flight
        (tmp_path / "gate").touch()
        other = Told([visit(app, "next")])
        app.host(other.visits, other)
        await other.over.wait()
        give_up()
        assert (other.given, told.times) == (["next"], 0)

    hosted(standing, scenario)


def test_units_that_could_not_be_handed_out_are_told_of_by_the_error_alone(standing, monkeypatch):
    async def scenario(app):
        def fail(_job):
            raise OSError("no such luck")

        told = Told([visit(app, "some")])
        with monkeypatch.context() as patch:
            patch.setattr(app.functions[0], "bring", fail)
            with pytest.raises(OSError, match="no such luck"):
                app.host(told.visits, told)
        assert not app.in_flight

        other = Told([visit(app, "next")])
        app.host(other.visits, other)
        await other.over.wait()
        assert (other.given, told.times) == (["next"], 0)

    hosted(standing, scenario)


def test_an_app_that_has_enough_to_do_refuses_units(standing):
    async def scenario(app):
        app._course._max_queue = 1
        told = Told([visit(app, text) for text in ("some", "more")])

        app.host(told.visits, told)

        await told.over.wait()
        assert [int(error.status) for error in told.errors] == [503, 503]

    hosted(standing, scenario)


def test_an_app_that_ends_takes_no_units_and_ends_those_that_it_has(standing, tmp_path):
    async def scenario(app):
        begun, waiting = (Told([visit(app, "gate")]) for _ in range(2))
        app.host(begun.visits, begun)
        while not (tmp_path / "waits").exists():
            await asyncio.sleep(0)
        app.functions[0].part(app.functions[0].replicas[0])
        app.host(waiting.visits, waiting)
        stopping = asyncio.ensure_future(app.stop())
        while not app.leaving:
            await asyncio.sleep(0)

        refused = Told([visit(app, "late")])
        with pytest.raises(RequestError, match="shutting down"):
            app.host(refused.visits, refused)
        await waiting.over.wait()
        assert [int(error.status) for error in waiting.errors] == [503]
        (tmp_path / "gate").touch()
        await stopping
        assert (begun.times, waiting.times, refused.times) == (1, 1, 0)
        assert not app.in_flight

    hosted(standing, scenario)
