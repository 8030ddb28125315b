"""Fluid groups: stages that queue apart and share replicas, on a running app."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from regrain.cards import CARDS
from regrain_watchdog.gpu.operate import recall

APP = """
import os

from regrain import App, GPU

app = App("pages", sample={"words": ["a", "b"]})


@app.stage()
def read(words: list[str]) -> list[str]:
    return [f"{word}@{os.getpid()}" for word in words]


@app.batched(GPU max_size=4)
def look(words: list[str]) -> list[str]:
    return [f"{word}@{os.getpid()}" for word in words]


@app.stage(GPU)
def tell(words: list[str]) -> list[str]:
    return [*words, str(os.getpid())]


@app.flow
def flow(words: list[str]) -> list[str]:
    return tell(look.map(read(words)))
"""
SCENARIO = """
[emulated]
jitter = 0.0
context = "16Mi"

[emulated.stages.look]
model = "resnet50"
load_time = "1ms"
activations = "1Mi"

[emulated.stages.tell]
model = "inception_v3"
load_time = "1ms"
activations = "1Mi"
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP.replace("GPU)", ")").replace("GPU max", "max"))
    return path


@pytest.fixture
def cards(serve, tmp_path):
    def start(*flags):
        path = tmp_path / "app.py"
        declared = 'gpu=GPU(memory="1Gi", share=0.4)'
        path.write_text(APP.replace("GPU max", f"{declared}, max").replace("(GPU)", f"({declared})"))
        (tmp_path / "scenario.toml").write_text(SCENARIO)
        return serve(path, "--scenario", str(tmp_path / "scenario.toml"), *flags)

    return start


def ask(served, words=("a", "b", "c")):
    answer = served.call(words=list(words))
    assert answer.status_code == 200, answer.text
    *told, last = answer.json()
    assert [one.split("@")[0] for one in told] == list(words)
    return {int(last), *(int(pid) for one in told for pid in one.split("@")[1:])}


def put(served, grain, **more):
    answer = requests.post(f"{served.admin_url}/grain", json={"grain": grain, **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_stages_of_a_fluid_group_queue_apart_over_the_same_replicas(serve, source, until):
    served = serve(source, "--grain", "fluid", "--replicas", "2")
    used = set()

    def has_used_both():
        used.update(*pool.map(lambda _: ask(served), range(40)))
        return len(used) == 2

    with ThreadPoolExecutor(8) as pool:
        until(has_used_both, "both replicas have run something")
    status = served.status()
    assert status["grain"] == "~read+look+tell"
    (group,) = status["groups"]
    assert group["name"] == "~read+look+tell"
    assert [(lane["stage"], lane["max_size"]) for lane in group["lanes"]] == [
        ("read", 1),
        ("look", 4),
        ("tell", 1),
    ]
    assert used == set(served.replicas())
    assert served.metric("regrain_replicas", group="~read+look+tell", state="ready") == 2


def test_a_change_between_fluid_coarse_and_fine_loses_nothing(serve, source, until):
    served = serve(source, "--grain", "fluid", "--replicas", "2", "--resident", "all")
    before = set(served.replicas())
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, served) for _ in range(200)]
        for grain in ("coarse", "fluid", "read | ~look+tell", "fine", "~read+look | tell", "fluid"):
            put(served, grain)
            until(lambda: served.status()["transitions"][0]["state"] == "done", "the old plan has ended")
        for one in asked:
            one.result()
    assert served.status()["grain"] == "~read+look+tell"
    until(lambda: len(served.replicas()) == 2, "two replicas are left")
    assert before & set(served.replicas())


def test_a_replica_that_is_killed_is_replaced_and_no_request_fails(serve, source, until):
    served = serve(source, "--grain", "fluid", "--replicas", "2")
    before = set(served.replicas())
    victim = min(before)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, served) for _ in range(100)]
        os.kill(victim, signal.SIGKILL)
        for one in asked:
            one.result()
    until(lambda: len(set(served.replicas()) - {victim}) == 2, "another has taken its place")
    assert ask(served) <= set(served.replicas())


def test_replicas_are_scaled_as_those_of_any_group(serve, source, until):
    served = serve(source, "--grain", "read | ~look+tell", "--replicas", "1")
    answer = requests.post(
        f"{served.admin_url}/scale", json={"group": "~look+tell", "replicas": 3}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    until(lambda: len(served.replicas()) == 4, "three replicas beside the one that reads")


def test_a_load_costs_what_the_cards_that_the_app_tells_of_do(cards, run_cli, tmp_path):
    cards("--gpus", "emulated:v100", "--grain", "read | look | tell", "--replicas", "1")

    told = run_cli(
        "load",
        "--param",
        'words=["a"]',
        "--rate",
        "20",
        "--duration",
        "6s",
        "-o",
        str(tmp_path / "report.json"),
    )

    assert told.returncode == 0, told.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    (app,) = report["apps"]
    assert not [note for note in report["notes"] if "cost" in note]
    assert (
        app["cost"]["total"] > 6.0 * 2 * 0.4 * CARDS["v100"].price / 3600
    )  # two groups of 0.4 each, for 6 s


def test_dispatches_hold_no_more_than_the_share_of_their_pool(cards):
    """Two stages of 0.4 each in a pool of 0.5: two replicas, and never two leases at once."""
    served = cards(
        "--gpus",
        "emulated:v100",
        "--grain",
        "read | ~look+tell",
        "--replicas",
        "read=1,look=2",
        "--gpu-shares",
        "look+tell=0.5",
    )
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: ask(served), range(24)))
    holds = sorted(recall(Path(served.status()["gpus"][0]["path"])), key=lambda hold: hold.start)
    assert len(holds) > 24
    assert {hold.sms for hold in holds} == {32}
    for one, other in pairwise(holds):
        assert other.start >= one.end - 1e-6


def test_replicas_on_several_gpus_share_what_their_pool_may_take(cards, until):
    served = cards(
        "--gpus",
        "emulated:v100x2",
        "--grain",
        "read | ~look+tell",
        "--replicas",
        "read=1,look=2",
        "--gpu-shares",
        "look+tell=0.8",
    )

    told = set()

    def has_been_told_by_both():
        told.update(
            answer.json()[-1] for answer in threads.map(lambda _: served.call(words=["a"] * 8), range(16))
        )
        return len(told) == 2

    with ThreadPoolExecutor(8) as threads:
        until(has_been_told_by_both, "a replica on each GPU has had its turn")
