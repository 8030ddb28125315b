"""tritonclient, as it is on PyPI, against a running app over both transports."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

pytestmark = pytest.mark.process

TRANSPORTS = {"http": tritonclient.http, "grpc": tritonclient.grpc}


class Triton:
    """One transport of tritonclient, its answers as plain values."""

    def __init__(self, transport, app):
        self.transport, self.module = transport, TRANSPORTS[transport]
        self.client = self.module.InferenceServerClient(app.http if transport == "http" else app.grpc)
        self._form = {} if transport == "http" else {"as_json": True}

    def told(self, name, *arguments, **options):
        return getattr(self.client, name)(*arguments, **options, **self._form)

    def input(self, name, array, datatype):
        made = self.module.InferInput(name, list(array.shape), datatype)
        made.set_data_from_numpy(array)
        return made

    def inputs(self, x=None, **texts):
        made = [] if x is None else [self.input("x", x, "FP32")]
        return made + [self.input(name, strings(given), "BYTES") for name, given in texts.items()]

    def infer(self, *inputs, model="tensors", **options):
        return self.client.infer(model, list(inputs), **options)

    def refused(self, status, *inputs, **options):
        """Ask for what is refused; return the message."""
        with pytest.raises(InferenceServerException) as raised:
            self.infer(*inputs, **options)
        shown = raised.value.status()
        wanted = STATUSES[status] if self.transport == "grpc" else str(status)
        assert shown == wanted, raised.value
        return raised.value.message()


STATUSES = {
    400: "StatusCode.INVALID_ARGUMENT",
    403: "StatusCode.PERMISSION_DENIED",
    404: "StatusCode.NOT_FOUND",
    500: "StatusCode.INTERNAL",
    502: "StatusCode.INTERNAL",
}


def strings(texts):
    return np.array([text.encode() for text in texts], dtype=np.object_)


ONES = np.ones((2, 3), np.float32)


@pytest.fixture(params=TRANSPORTS)
def triton(request, running_tensors):
    made = Triton(request.param, running_tensors)
    yield made
    made.client.close()


def test_the_server_lives_and_is_ready_and_so_is_the_model(triton):
    assert triton.client.is_server_live()
    assert triton.client.is_server_ready()
    assert triton.client.is_model_ready("tensors")


def test_the_first_lines_of_a_run_tell_where_grpc_is(running_tensors):
    assert running_tensors.said(r"gRPC on (\S+)") == running_tensors.grpc


def test_metadata_tells_server_inputs_and_outputs(triton):
    server = triton.told("get_server_metadata")
    model = triton.told("get_model_metadata", "tensors")

    assert server["name"] == "regrain"
    assert "binary_tensor_data" in server["extensions"]
    assert [one["name"] for one in model["inputs"]] == ["x", "text", "options"]
    assert [int(length) for length in model["inputs"][0]["shape"]] == [-1, 2, 3]
    assert model["inputs"][0]["datatype"] == "FP32"
    assert model["inputs"][1]["datatype"] == "BYTES"
    assert [one["name"] for one in model["outputs"]] == ["scaled", "loud"]


def test_config_and_repository_are_as_triton_asks_for_them(triton):
    config = triton.told("get_model_config", "tensors")
    config = config.get("config", config)

    assert config["max_batch_size"] == 256
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [int(length) for length in config["input"][0]["dims"]] == [2, 3]
    assert config["input"][1]["optional"] is True
    assert triton.told("get_model_repository_index") in ([], {})


def test_a_named_version_is_served_and_another_is_not_found(triton):
    version = triton.told("get_model_metadata", "tensors")["versions"][0]

    assert triton.infer(*triton.inputs(ONES), model_version=version).as_numpy("scaled") is not None
    assert "no version '99'" in triton.refused(404, *triton.inputs(ONES), model_version="99")


def test_an_answer_has_its_id_its_outputs_and_its_defaults(triton):
    result = triton.infer(*triton.inputs(ONES), request_id="seven")

    response = result.get_response()
    assert (response["id"] if triton.transport == "http" else response.id) == "seven"
    np.testing.assert_array_equal(result.as_numpy("scaled"), 2 * ONES)
    assert result.as_numpy("scaled").dtype == np.float32
    assert result.as_numpy("loud").tolist() == [b"HI"]


def test_a_leading_dimension_is_a_batch_answered_together(triton):
    batch = np.stack([ONES * scale for scale in range(5)])

    result = triton.infer(*triton.inputs(batch, text=["a", "b", "c", "d", "e"], options=['{"by": 3}']))

    np.testing.assert_array_equal(result.as_numpy("scaled"), 3 * batch)
    assert result.as_numpy("loud").tolist() == [b"A", b"B", b"C", b"D", b"E"]


def test_an_output_alone_can_be_asked_for(triton):
    result = triton.infer(*triton.inputs(ONES), outputs=[triton.module.InferRequestedOutput("loud")])

    assert result.as_numpy("scaled") is None
    assert result.as_numpy("loud").tolist() == [b"HI"]


def test_data_in_json_is_the_same_over_http(running_tensors):
    with tritonclient.http.InferenceServerClient(running_tensors.http) as client:
        given = tritonclient.http.InferInput("x", [2, 3], "FP32")
        given.set_data_from_numpy(ONES, binary_data=False)
        outputs = [
            tritonclient.http.InferRequestedOutput(name, binary_data=False) for name in ("scaled", "loud")
        ]

        result = client.infer("tensors", [given], outputs=outputs)

        assert "parameters" not in result.get_response()["outputs"][0]
        np.testing.assert_array_equal(result.as_numpy("scaled"), 2 * ONES)


@pytest.mark.parametrize(
    ("array", "datatype", "said"),
    [
        pytest.param(np.ones((2, 2), np.float32), "FP32", "expected shape [2, 3], got [2, 2]", id="shape"),
        pytest.param(np.ones((2, 3), np.float64), "FP64", "expected FP32, got FP64", id="datatype"),
        pytest.param(np.array([b"x"], np.object_), "BYTES", "expected datatype FP32, got BYTES", id="text"),
        pytest.param(np.ones((300, 2, 3), np.float32), "FP32", "allowed are 1 to 256", id="batch"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(triton, array, datatype, said):
    message = triton.refused(400, triton.input("x", array, datatype))

    assert said in message
    assert "x" in message


def test_unknown_models_inputs_and_outputs_are_refused_by_name(triton):
    x = triton.inputs(ONES)

    assert "there is no model 'nobody'" in triton.refused(404, *x, model="nobody")
    assert "there is no input 'y'" in triton.refused(400, *x, triton.input("y", ONES, "FP32"))
    assert "input 'x' is missing" in triton.refused(400, *triton.inputs(text=["a"]))
    wanted = [triton.module.InferRequestedOutput("nothing")]
    assert "there is no output 'nothing'" in triton.refused(400, *x, outputs=wanted)


def test_batches_of_different_lengths_are_refused(triton):
    message = triton.refused(400, *triton.inputs(np.stack([ONES] * 3), text=["a", "b"]))

    assert "'text' has 2 items, another has 3" in message


def test_a_stage_that_fails_says_so_and_names_the_item(triton):
    message = triton.refused(500, *triton.inputs(np.stack([ONES] * 2), text=["fine", "raise"]))

    assert "item 1" in message
    assert "told to raise" in message
    assert "act" in message


def test_a_replica_that_dies_is_an_error_naming_the_stage_and_the_next_request_is_answered(triton):
    message = triton.refused(502, *triton.inputs(ONES, text=["die"]))

    assert "act" in message
    deadline = time.monotonic() + 60
    while not triton.client.is_model_ready("tensors"):
        assert time.monotonic() < deadline
    assert triton.infer(*triton.inputs(ONES)).as_numpy("loud").tolist() == [b"HI"]


def test_what_a_stage_refuses_comes_with_its_status(triton):
    assert "told to refuse" in triton.refused(403, *triton.inputs(ONES, text=["refuse"]))


def test_sequences_and_classification_are_refused(triton):
    x = triton.inputs(ONES)

    assert "sequence_id" in triton.refused(400, *x, sequence_id=5)
    counted = [triton.module.InferRequestedOutput("scaled", class_count=2)]
    assert "classification" in triton.refused(400, *x, outputs=counted)


def test_statistics_count_what_was_answered_and_what_failed(triton):
    def counted():
        (model,) = triton.told("get_inference_statistics", "tensors")["model_stats"]
        told = model["inference_stats"]
        items = int(model.get("inference_count", 0))
        return items, int(told["success"].get("count", 0)), int(told["fail"].get("count", 0))

    items, succeeded, failed = counted()
    triton.infer(*triton.inputs(np.stack([ONES] * 4)))
    triton.refused(500, *triton.inputs(ONES, text=["raise"]))

    assert counted() == (items + 4, succeeded + 1, failed + 1)


def test_headers_reach_the_stages(triton):
    result = triton.infer(*triton.inputs(ONES, text=["headers"]), headers={"x-from": "a client"})

    assert result.as_numpy("loud").tolist() == [b"a client"]


def test_a_caller_that_goes_away_has_its_work_cancelled(running_tensors):
    client = tritonclient.grpc.InferenceServerClient(running_tensors.grpc)
    triton = Triton("grpc", running_tensors)
    came = threading.Event()
    call = client.async_infer(
        "tensors", triton.inputs(ONES, text=["wait"]), callback=lambda result, error: came.set()
    )

    _until(lambda: _in_flight(running_tensors) == 1)
    call.cancel()

    assert came.wait(60)
    _until(lambda: _in_flight(running_tensors) == 0)
    assert triton.infer(*triton.inputs(ONES)).as_numpy("loud").tolist() == [b"HI"]
    client.close()
    triton.client.close()


def test_a_deadline_of_the_caller_ends_its_call(running_tensors):
    triton = Triton("grpc", running_tensors)
    began = time.monotonic()

    with pytest.raises(InferenceServerException) as raised:
        triton.infer(*triton.inputs(ONES, text=["wait"]), client_timeout=0.3)

    assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    assert time.monotonic() - began < 45  # its stage waits for 60 s
    assert triton.infer(*triton.inputs(ONES)).as_numpy("loud").tolist() == [b"HI"]
    triton.client.close()


def test_a_stream_answers_in_order_and_tells_errors_without_ending(running_tensors):
    triton = Triton("grpc", running_tensors)
    answers = queue.Queue()
    triton.client.start_stream(lambda result, error: answers.put((result, error)))

    for at in range(20):
        texts = {"text": ["raise"]} if at == 7 else {}
        triton.client.async_stream_infer("tensors", triton.inputs(ONES * at, **texts), request_id=str(at))
    got = [answers.get(timeout=60) for _ in range(20)]

    assert "told to raise" in str(got[7][1])
    for at, (result, error) in enumerate(got):
        if at != 7:
            assert error is None
            assert result.get_response().id == str(at)
            assert result.as_numpy("scaled")[0, 0] == 2 * at
    triton.client.stop_stream()
    triton.client.close()


def _in_flight(app):
    status = requests.get(f"{app.admin}/status", timeout=60).json()
    return requests.get(_metrics(app, status), timeout=60).text.count("http_requests_in_flight 1.0")


def _metrics(app, status):
    return f"http://127.0.0.1:{status['ports']['metrics']}/metrics"


def _until(claim):
    end = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
