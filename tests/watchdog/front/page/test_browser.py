"""The live page of an app that is really served, in a real browser."""

import os
import re
import signal

import pytest
import requests

pytestmark = pytest.mark.process

GIVEN = r"(?P<card>\w+) · 0 of \d+ SMs held now · (?P<held>\d+) GiB of \d+ GiB given out"

APP = """
from regrain import SLO, App

app = App("greeter", slo=SLO(latency=60.0, attainment=0.9), sample={"words": ["a"]})


@app.stage()
def check(words: list[str]) -> list[str]:
    if "fail" in words:
        raise ValueError("it was told to")
    return words


@app.batched(max_size=4, max_wait=0.001)
def shout(words: list[str]) -> list[str]:
    return [word.upper() for word in words]


@app.stage()
def join(words: list[str]) -> str:
    return " ".join(words)


@app.flow
def main(words: list[str]) -> str:
    return join(shout.map(check(words)))
"""
CARDS = """
from regrain import GPU, App

app = App("cards", sample={"text": "a"})


@app.stage(gpu=GPU(memory="1Gi", share=0.5))
def one(text: str) -> str:
    return text + "1"


@app.stage(gpu=GPU(memory="2Gi"))
def two(text: str) -> str:
    return text + "2"


@app.flow
def flow(text: str) -> str:
    return two(one(text))
"""
SCENARIO = """
[emulated]
jitter = 0.0

[emulated.stages.one]
model = "resnet50"
load_time = "1ms"

[emulated.stages.two]
model = "inception_v3"
load_time = "1ms"
"""
WEB = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""
ADAPTED = {
    "Hit rate predicted": r"[\d.]+ %",
    "Hit rate measured": r"[\d.]+ %",
    "Dollars per 1,000": r"\$[\d.e-]+",
    "Rate expected": r"[\d.]+ /s",
}
"""What the page tells of an app that adapts, and how it looks."""


@pytest.fixture
def run(start):
    return start(APP, "--grain", "check | shout+join", "--replicas", "check=2,join=1")


@pytest.fixture
def fluid(start):
    return start(APP, "--grain", "check | ~shout+join")


@pytest.fixture
def upstream(start):
    return start(WEB, target="wsgi:app:app")


@pytest.fixture
def adapting(start):
    return start(APP, "--adapt", "--adapt-period", "1s", "--cores", "1")


@pytest.fixture
def cards(start, tmp_path):
    (tmp_path / "scenario.toml").write_text(SCENARIO)
    gpus = ("--gpus", "emulated:v100,a10", "--scenario", str(tmp_path / "scenario.toml"))
    return start(CARDS, "--grain", "fine", "--replicas", "one=2", *gpus)


def test_the_page_shows_the_app_and_follows_what_it_does(browser, run):
    browser.open(run.admin)
    browser.until(lambda: browser.text("#state") == "ready", "the state is shown")
    browser.until(lambda: browser.run("return !!document.querySelector('#dag svg')"), "the DAG is drawn")

    groups = browser.run(
        "return [...document.querySelectorAll('#dag [data-group]')].map(g => g.dataset.group)"
    )
    stages = browser.run(
        "return [...document.querySelectorAll('#dag [data-stage]')].map(g => g.dataset.stage)"
    )
    assert groups == ["check", "shout+join"]
    assert sorted(stages) == ["check", "join", "shout"]
    assert browser.text("#app") == "greeter"
    assert "90 % within 60 s" in browser.text("#about")
    functions = browser.text("#functions")
    assert functions.count("ready") == 3
    assert all(group in functions for group in ("check", "shout + join"))
    assert "None" in browser.text("#misses")
    assert "2 replicas" in browser.text('#dag [data-group="check"]')
    assert browser.text('[data-tile="p50"] .value') == "\N{EN DASH}"
    assert browser.run("return document.querySelector('#gpus-card').offsetHeight") == 0

    asked = [lambda: run.call("a", "b") == 200, lambda: run.call("a", "b", "c", "d") == 200]
    browser.until(
        lambda: (
            told(browser, run, asked).items() >= {"Rate": "2 requests", "Hit rate": "100.0 %"}.items()
            and re.fullmatch(r"[\d.]+ (µs|ms|s)", browser.text('[data-tile="p99"] .value'))
        ),
        "requests are counted",
    )
    browser.until(lambda: "/s" in browser.text("#stages"), "stages have run")
    browser.until(
        lambda: browser.run("return document.querySelectorAll('[data-tile=\"Rate\"] .curve').length"),
        "the sparkline has a curve",
    )

    asked.append(lambda: run.call("fail") == 500)
    assert asked[-1]()

    browser.until(lambda: "failed (500)" in browser.text("#misses"), "the miss is listed")
    assert "check" in browser.text("#misses .parts")
    browser.until(
        lambda: told(browser, run, asked).items() >= {"Rate": "3 requests", "Hit rate": "66.7 %"}.items(),
        "the miss is counted",
    )
    assert browser.complaints() == []


def told(browser, run, asked):
    """What the page tells of the last half minute; if all of that is over, what was asked is asked again."""
    if not run.load()["requests"]:
        assert all(ask() for ask in asked)
    tiles = browser.run(
        "return [...document.querySelectorAll('[data-tile]')].map(tile => [tile.dataset.tile, tile.innerText])"
    )
    found = {name: re.search(r"\d+ requests?|[\d.]+ %", text) for name, text in tiles}
    return {name: match[0] for name, match in found.items() if match}


def test_the_page_is_whole_in_the_dark_and_for_assistive_technology(browser, run):
    browser.open(run.admin)
    browser.until(lambda: browser.run("return !!document.querySelector('#dag svg')"), "the DAG is drawn")
    colours = (
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#dag rect')).fill]"
    )
    browser.prefer("light")
    light = browser.run(colours)
    browser.prefer("dark")

    assert browser.run(colours) != light
    assert all(one != other for one, other in zip(browser.run(colours), light, strict=True))
    unnamed = (
        "return [...document.querySelectorAll('svg[role=img]')]"
        ".filter(s => !s.getAttribute('aria-label') && !s.querySelector('title')).length"
    )
    assert browser.run(unnamed) == 0
    assert browser.run("return document.querySelector('#state').getAttribute('role')") == "status"
    browser.prefer("")


@pytest.mark.parametrize("width", [380, 1400])
def test_nothing_reaches_over_the_edge_of_the_window(browser, run, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", size)
    browser.open(run.admin)
    browser.until(lambda: browser.run("return !!document.querySelector('#dag svg')"), "the DAG is drawn")

    over = browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth")

    browser.command("Emulation.clearDeviceMetricsOverride", {})
    assert over == 0


def test_a_fluid_groups_batches_are_those_of_all_its_stages(browser, fluid):
    browser.open(fluid.admin)
    browser.until(lambda: browser.text("#state") == "ready", "the state is shown")
    row = "return [...document.querySelectorAll('#functions tbody tr')].at(-1).innerText"

    assert fluid.call("a") == 200

    browser.until(
        lambda: re.search(r"1\t4\t[\d.]+ /s\t[\d.]+ (µs|ms|s)$", str(browser.run(row))),
        "what it did is shown",
    )
    assert browser.complaints() == []


def test_gpus_show_who_has_had_how_much_of_them_and_holds_what(browser, cards):
    browser.open(cards.admin)
    browser.until(lambda: browser.text("#state") == "ready", "the state is shown")
    browser.until(lambda: browser.text('[data-gpu="1"]'), "the second GPU is shown")
    heads = [browser.text(f'[data-gpu="{number}"] h3 small') for number in (0, 1)]
    given = [re.fullmatch(GIVEN, head) for head in heads]
    assert [match["card"] for match in given] == ["v100", "a10"]
    assert sum(int(match["held"]) for match in given) == 4, "two replicas of 1 GiB, and one of 2 GiB"

    bar = "return [...document.querySelectorAll('#gpus .bar i')].map(i => [i.className, parseFloat(i.style.width)])"
    rows = "return [...document.querySelectorAll('#gpus tbody tr')].map(row => row.innerText)"

    def both_ran() -> bool:
        assert cards.post({"text": "a"}) == 200
        busy = [row for row in browser.run(rows) if "/s" in row]
        return {row.split()[0] for row in busy} == {"cards/one", "cards/two"}

    browser.until(both_ran, "both functions have had leases")
    held = {"cards/one": 0, "cards/two": 0}
    for row in browser.run(rows):
        held[row.split()[0]] += int(re.search(r"(\d+) GiB", row)[1])
    assert held == {"cards/one": 2, "cards/two": 2}
    assert {look for look, _ in browser.run(bar)} == {"tint-0", "tint-1"}
    assert sum(width for _, width in browser.run(bar)) <= 200
    assert browser.complaints() == []


def test_the_page_of_an_app_that_adapts_says_which_plan_rules_and_why(browser, adapting):
    browser.open(adapting.admin)

    def asked_about(text, selector):
        assert adapting.call("a", "b") == 200
        return text in browser.text(selector)

    browser.until(lambda: asked_about("rules:", "#adapt .reason"), "the reason is told")
    browser.until(lambda: asked_about("/s", '[data-tile="Rate expected"] .value'), "the rate is told")
    assert "check+shout+join" in browser.text("#adapt")
    for name, shape in ADAPTED.items():
        value = f'[data-tile="{name}"] .value'
        browser.until(
            lambda value=value, shape=shape: (
                adapting.call("a") == 200 and re.fullmatch(shape, browser.text(value))
            ),
            f"{name} is told",
        )
    count = "return document.querySelectorAll(arguments[0]).length"
    browser.until(lambda: browser.run(count, "#adapt .strip rect") > 1, "two decisions are shown")
    browser.until(
        lambda: browser.run(count, "#adapt .tiles .curve") == len(ADAPTED), "each of them has a curve"
    )
    head, row = browser.run(
        "return [...document.querySelectorAll('#adapt table tr')].map(row => row.innerText)"
    )
    assert re.split(r"\s{2,}|\t", head.strip()) == ["Group", "Replicas", "Batch at most", "Share"]
    assert re.fullmatch(r"check\+shout\+join\s+1\s+\d+\s+1 cores", row.strip())
    assert not browser.complaints()


def test_the_page_of_an_upstream_is_whole(browser, upstream):
    browser.open(upstream.admin)
    browser.until(lambda: browser.text("#state") == "ready", "the state is shown")
    browser.until(lambda: browser.run("return !!document.querySelector('#dag svg')"), "the DAG is drawn")

    assert upstream.post({}) == 200

    row = r"upstream\s+ready\s*\d+\s+0\s+1\s+1\s+[\d.]+ /s\s+[\d.]+ (µs|ms|s)"
    browser.until(lambda: re.search(row, browser.text("#functions")), "what it did is shown")
    browser.until(lambda: "/s" in browser.text("#stages"), "its one stage is shown")
    assert "1 replica" in browser.text('#dag [data-group="upstream"]')
    assert [browser.text(selector)[:4] for selector in ("#transitions", "#misses")] == ["None", "None"]
    assert browser.complaints() == []


def test_that_the_controller_has_ended_is_said(browser, adapting):
    browser.open(adapting.admin)

    def killed():
        pid = requests.get(adapting.admin + "/status", timeout=60).json()["adapting"]["pid"]
        if pid:
            os.kill(pid, signal.SIGKILL)
        return re.search(
            r"the controller has ended \d+ times, and the plan stays: ", browser.text("#adapt-trouble")
        )

    browser.until(killed, "the page says so")


def test_the_page_of_an_app_that_does_not_adapt_says_nothing_of_it(browser, run):
    browser.open(run.admin)

    browser.until(lambda: browser.text("#app") == "greeter", "the page shows the app")

    assert browser.run("return document.getElementById('adapt-card').hidden")
