"""What a pod tells of the controller that asks for its load."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from regrain_watchdog.front.adapting.words import Watched
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.measure import Measure
from regrain_watchdog.front.remote import watcher
from regrain_watchdog.front.remote.watcher import SILENCE, Watcher

pytestmark = pytest.mark.process
APP = """
from regrain import App

app = App("pair", sample={"text": "sample"})


@app.stage()
def upper(text: str) -> str:
    return text.upper()


@app.flow
def run(text: str) -> str:
    return upper(text)
"""


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr(watcher, "time", clock)
    return clock


@pytest.fixture
def play(standing):
    """Play a scenario of a pod's watcher under an objective, and the metrics that it tells."""

    def run(slo, scenario):
        async def stood():
            async with standing(APP) as stand:
                measure = Measure()
                settings = Config.from_env({"REGRAIN_SLO": slo})
                scenario(Watcher(stand.live, measure, settings, None), measure)

        asyncio.run(stood())

    return run


def adapting(measure):
    families = text_string_to_metric_families(measure.page()[1].decode())
    return [one.value for family in families for one in family.samples if one.name == "regrain_adapting"]


def test_a_controller_is_there_for_as_long_as_it_asks(play, clock):
    def scenario(watched, measure):
        assert adapting(measure) == []

        watched.watched()
        clock.monotonic = lambda: 1000.0 + SILENCE - 0.1
        assert adapting(measure) == [1.0]

        clock.monotonic = lambda: 1000.0 + SILENCE
        assert adapting(measure) == [0.0]

        watched.watched()
        assert adapting(measure) == [1.0]

    play("300ms", scenario)


def test_what_came_while_no_controller_asked_is_told_to_none(play, clock):
    """A pod keeps only so much: what it keeps of a long time would look like a load that has ceased."""

    def came(watched):
        return len(msgspec.msgpack.decode(watched.watched(), type=Watched).report.at) // 8

    def scenario(watched, measure):
        watched.watched()
        measure.tally.note(1.0, 1000.5)
        clock.monotonic = lambda: 1000.0 + SILENCE
        assert came(watched) == 1

        measure.tally.note(1.0, 1010.5)
        clock.monotonic = lambda: 1000.1 + 2 * SILENCE
        assert came(watched) == 0

        measure.tally.note(1.0, 1020.5)
        assert came(watched) == 1

    play("300ms", scenario)


def test_of_a_plan_that_nobody_adapts_any_more_nothing_is_told(play, clock):
    def scenario(watched, measure):
        watched.watched()
        watched.forget()
        assert adapting(measure) == []

        watched.watched()
        assert adapting(measure) == [1.0]

    play("300ms", scenario)


def test_without_an_objective_nobody_adapts(play, clock):
    def scenario(watched, measure):
        watched.watched()
        assert adapting(measure) == []

    play("", scenario)


def test_what_is_told_of_a_pods_own_controller_stays(play, clock):
    def scenario(watched, measure):
        measure.adapting = watched.told
        watched.forget()
        assert adapting(measure) == [0.0]

    play("300ms", scenario)
