"""Many callers, large values and full memory: everybody gets the right answer or is told to come back."""

import importlib.util
import json
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests

GRAINS = [
    pytest.param("coarse", "3", id="coarse"),
    pytest.param("fine", "cut=1,turn=2,read=2,total=1,join=1", id="fine"),
    pytest.param("cut | turn+read | total+join", "2", id="in between"),
    pytest.param("cut+turn+total | read+join", "2", id="across the maps"),
]


def plain(name):
    """A module of `apps/` as plain Python, without a server."""
    path = Path(__file__).parent / "apps" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"plain_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def descriptors(served):
    """How many descriptors of shared memory the front holds."""
    links = []
    for path in Path(f"/proc/{served.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            links.append(str(path.readlink()))
    return sum("memfd:" in link for link in links)


@pytest.mark.parametrize(("grain", "replicas"), GRAINS)
def test_two_hundred_calls_of_different_widths_at_once_each_get_their_own_answer(
    serve, until, grain, replicas
):
    widths = serve("widths.py", "--grain", grain, "--replicas", replicas)
    rng = random.Random(7)
    asked = [(seed, rng.choice([0, 0, 1, 2, 5, 9, 17, 40])) for seed in range(200)]
    page = plain("widths").page
    wanted = [json.loads(json.dumps(page(seed, count))) for seed, count in asked]

    def ask(pair):
        response = session.post(widths.url, json={"seed": pair[0], "count": pair[1]}, timeout=60)
        return response.json()

    with requests.Session() as session, ThreadPoolExecutor(32) as callers:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=32))
        answers = list(callers.map(ask, asked))

    assert answers == wanted
    items = sum(count for _, count in asked) + 3  # the sample's
    replicas_warmed = widths.metric("regrain_stage_items_total", stage="read")
    assert replicas_warmed >= items
    assert widths.metric("http_requests_total", code="200") == 200
    assert widths.metric("regrain_queue_units") == 0
    until(lambda: widths.metric("http_requests_in_flight") == 0, "nothing is in flight")


@pytest.fixture(scope="module")
def large(module_serve):
    return module_serve("blobs.py", "--grain", "fine", max_body="128Mi", memory="700Mi", body_timeout="300s")


def test_a_body_of_a_hundred_megabytes_comes_back_turned_around(large):
    data = random.Random(1).randbytes(100 << 20)

    response = large.post(data, headers={"Content-Type": "application/octet-stream"})

    assert response.status_code == 200
    assert response.content == data[::-1]


def test_results_that_outgrow_the_room_that_was_granted_are_whole(large):
    """The room for a batch's results is learnt from those before; each of these is larger than all before."""
    for size in (1, 100, 10_000, 1_000_000, 3, 20_000_000):
        response = large.post(b"ab" * size, path="/?times=2")

        assert response.content == (b"ba" * size) * 2


def test_what_the_front_holds_does_not_grow_with_its_calls(large, until):
    def ask(_):
        return len(large.post(b"x" * 50_000).content)

    held = []

    def settled():
        with ThreadPoolExecutor(8) as callers:
            assert set(callers.map(ask, range(40))) == {50_000}
        until(lambda: large.metric("http_requests_in_flight") == 0, "nothing is in flight")
        held.append((large.metric("regrain_shared_memory_bytes", state="in_use"), descriptors(large)))
        return len(held) > 1 and held[-1] == held[-2]

    until(settled, "two rounds of calls leave the same behind")


def test_full_memory_is_told_with_when_to_come_back_and_passes(serve, problem, until):
    blobs = serve("blobs.py", "--grain", "fine", max_body="32Mi", memory="24Mi")

    def ask(_):
        return blobs.post(b"x" * (3 << 20))

    def refusals():
        with ThreadPoolExecutor(12) as callers:
            responses = list(callers.map(ask, range(36)))
        found = [response for response in responses if response.status_code != 200]
        assert len(found) < len(responses)
        return found

    refused = until(refusals, "so many at once are too much for it")
    for response in refused:
        problem(response, 503, "shared memory", stage=response.json().get("stage"))
        assert int(response.headers["Retry-After"]) >= 1
    assert blobs.metric("regrain_misses_total", reason="shed") == len(refused)
    until(lambda: blobs.post(b"x" * (3 << 20)).status_code == 200, "it recovers")


def test_a_value_that_never_fits_is_refused_without_a_hope(serve, problem):
    blobs = serve("blobs.py", max_body="32Mi", memory="4Mi")

    response = blobs.post(b"x" * (20 << 20))

    problem(response, 503, "the limit on shared memory is 4194304")
    assert "Retry-After" not in response.headers
    problem(blobs.post(b"x" * (1 << 20), path="/?times=8"), 503, "8388608", stage="turn")
    assert blobs.post(b"xy").content == b"yx"


def test_a_full_queue_is_told_with_when_to_come_back(serve, problem, until, tmp_path):
    note = tmp_path / "note"
    note.write_text("")
    acts = serve("acts.py", max_queue="2")
    with ThreadPoolExecutor(3) as callers:
        asked = [callers.submit(acts.call, do="wait", note=str(note)) for _ in range(3)]
        until(lambda: acts.metric("regrain_queue_units") == 2, "two wait")

        refused = acts.call(do="x")
        note.unlink()

        problem(refused, 503, "2 requests wait already")
        assert int(refused.headers["Retry-After"]) >= 1
        assert [one.result().status_code for one in asked] == [200] * 3
    assert acts.call(do="x").status_code == 200


def test_more_callers_than_connections_wait_their_turn(serve):
    """They let go of their connection once they have their answer; one that is kept counts as served."""
    acts = serve("acts.py", max_connections="2")

    def ask(number):
        return requests.post(acts.url, json={"do": number}, headers={"Connection": "close"}, timeout=60).text

    numbers = [str(number) for number in range(48)]
    with ThreadPoolExecutor(12) as callers:
        assert list(callers.map(ask, numbers)) == numbers
