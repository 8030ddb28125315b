"""What the live page does where its app does not answer it any more, or not yet."""

import contextlib
import re

import pytest
import requests

from regrain_watchdog.front.events import LOOKERS

pytestmark = pytest.mark.process

APP = """
from regrain import App

app = App("echo", sample={"words": ["a"]})


@app.stage()
def shout(words: list[str]) -> str:
    return " ".join(words).upper()


@app.flow
def main(words: list[str]) -> str:
    return shout(words)
"""


@pytest.fixture
def run(start):
    return start(APP)


def test_an_app_that_stops_ends_its_events_and_the_page_says_that_it_is_gone(browser, run):
    browser.open(run.admin)
    browser.until(lambda: browser.text("#state") == "ready", "the state is shown")

    assert run.end() == 0

    browser.until(lambda: "trying again" in browser.text("#trouble"), "the page says so")
    assert browser.text("#state") == "draining"


def test_a_page_that_finds_no_place_looks_again_until_there_is_one(browser, run):
    with contextlib.ExitStack() as lookers:
        last, *_ = [lookers.enter_context(looking(run)) for _ in range(LOOKERS)]
        browser.open(run.admin)
        browser.until(lambda: "trying again" in browser.text("#trouble"), "it is refused")
        assert browser.text("#state") == "connecting"

        last.close()

        browser.until(lambda: browser.text("#state") == "ready", "it has got the place")


def looking(run):
    """A connection that gets the events of the live page."""
    session = requests.Session()
    session.trust_env = False
    answer = session.get(f"{run.admin}/events", stream=True, timeout=60)
    assert answer.ok
    return contextlib.closing(answer.raw)


def test_a_front_that_is_started_anew_at_the_same_address_is_counted_anew(browser, start, free_ports):
    flags = ("--admin-port", str(free_ports[0]))
    run = start(APP, *flags)
    try:
        assert {run.call("a", "b") for _ in range(9)} == {200}
        browser.open(run.admin)
        browser.until(lambda: "/s" in browser.text("#stages"), "what has run is counted")
    finally:
        assert run.end() == 0

    again = start(APP, *flags)
    try:
        assert again.call("a") == 200
        browser.until(
            lambda: f"pid {again.process.pid}" in browser.text("#about") and "/s" in browser.text("#stages"),
            "the page follows the next one",
        )

        rates = [browser.text(selector) for selector in ("#stages", "#functions")]
        assert not any(re.search(r"-\d", text) for text in rates), rates
    finally:
        assert again.end() == 0
