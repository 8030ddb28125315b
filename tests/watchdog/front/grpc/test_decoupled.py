"""An app that streams, over ModelStreamInfer: as tritonclient takes what Triton calls decoupled models."""

from __future__ import annotations

import json
import queue
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.process

STREAMS = Path(__file__).parents[3] / "integration" / "apps" / "streams.py"


@pytest.fixture(scope="module")
def running_streams(run_app):
    return run_app(STREAMS)


@pytest.fixture
def client(running_streams):
    with tritonclient.grpc.InferenceServerClient(running_streams.grpc) as made:
        yield made


def inputs(**values):
    made = []
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        made.append(tritonclient.grpc.InferInput(name, [1], "BYTES"))
        made[-1].set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
    return made


def opened(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    return answers


def number(result):
    return json.loads(result.as_numpy("output")[0])["n"]


def test_every_item_is_an_answer_and_the_end_is_told_to_whoever_asks(client):
    answers = opened(client)
    client.async_stream_infer(
        "streams",
        inputs(what="count", count=40),
        request_id="one",
        enable_empty_final_response=True,
    )
    got = [answers.get(timeout=60)[0] for _ in range(41)]
    client.stop_stream()

    assert [number(result) for result in got[:-1]] == list(range(40))
    assert {result.get_response().id for result in got} == {"one"}
    ends = [result.get_response().parameters["triton_final_response"].bool_param for result in got]
    assert ends == [False] * 40 + [True]
    assert answers.empty()


def test_requests_of_one_stream_are_answered_one_after_another(client):
    answers = opened(client)
    for name in ("a", "b", "c"):
        client.async_stream_infer("streams", inputs(what="count", count=20), request_id=name)
    got = [answers.get(timeout=60)[0] for _ in range(60)]
    client.stop_stream()

    assert [result.get_response().id for result in got] == [name for name in "abc" for _ in range(20)]


@pytest.mark.parametrize(
    ("what", "count", "says"),
    [
        ("raise", 0, "nothing at all"),
        ("fail", 2, "the third is missing"),
        ("die", 2, "the middle of the answer"),
    ],
)
def test_an_error_comes_after_its_items_and_the_stream_goes_on(client, what, count, says):
    answers = opened(client)
    client.async_stream_infer("streams", inputs(what=what))
    client.async_stream_infer("streams", inputs(what="count", count=1))
    got = [answers.get(timeout=60) for _ in range(count + 2)]
    client.stop_stream()

    assert [number(result) for result, _ in got[:count]] == list(range(count))
    assert says in str(got[count][1])
    assert number(got[-1][0]) == 0


def test_a_unary_call_gets_the_list(client):
    result = client.infer("streams", inputs(what="count", count=3))

    assert [item["n"] for item in json.loads(result.as_numpy("output")[0])] == [0, 1, 2]


def test_a_batch_is_refused_as_its_answers_would_be_streams(client):
    answers = opened(client)
    batch = tritonclient.grpc.InferInput("what", [2], "BYTES")
    batch.set_data_from_numpy(np.array([b"count", b"count"], dtype=np.object_))
    client.async_stream_infer("streams", [batch])
    _, error = answers.get(timeout=60)
    client.stop_stream()

    assert isinstance(error, InferenceServerException)
    assert "ask for one at a time" in str(error)


def test_a_stream_that_is_cut_off_closes_its_generator(client, running_streams, tmp_path):
    log = tmp_path / "log"
    answers = opened(client)
    client.async_stream_infer("streams", inputs(what="much", count=0, log=str(log)))
    answers.get(timeout=60)
    client.stop_stream(cancel_requests=True)

    end = time.monotonic() + 60
    while not log.exists() or "closed" not in log.read_text():
        assert time.monotonic() < end, "the generator is still open"
        time.sleep(0.01)
    status = requests.get(f"{running_streams.admin}/status", timeout=60).json()
    assert status["state"] == "ready"
