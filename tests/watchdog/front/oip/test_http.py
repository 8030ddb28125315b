"""The protocol over HTTP, spoken by hand where tritonclient cannot be made to say it."""

import json
from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.manifest import Parameter, TensorSpec
from regrain_watchdog.front.call import Reply

INFER = "/v2/models/echo/infer"
VECTOR = Parameter(name="x", kind="array", tensor=TensorSpec(datatype="FP32", shape=(2,)))
TEXT = Parameter(name="text", kind="str")


@pytest.fixture
def vectors(serve, app_of):
    return serve(app_of(VECTOR))


def infer(served, request, behind=b"", length=None, path=INFER, **headers):
    head = request if isinstance(request, bytes) else json.dumps(request).encode()
    if behind or length is not None:
        headers["Inference_Header_Content_Length"] = str(len(head) if length is None else length)
    return served.post(head + behind, "application/json", path, **headers)


def given(name, datatype, shape, **more):
    return {"name": name, "datatype": datatype, "shape": shape} | more


def test_live_and_ready_answer_by_status_alone(serve, app_of):
    served = serve(app_of(VECTOR))

    assert served.request("GET", "/v2/health/live").status == 200
    assert served.request("GET", "/v2/health/ready").status == 200
    served.service.trouble = "no warm replica yet"
    assert served.request("GET", "/v2/health/live").status == 200
    assert served.request("GET", "/v2/health/ready").status == 503
    assert served.request("GET", "/v2/models/echo/ready").status == 503


def test_json_comes_in_and_goes_out(serve, app_of):
    served = serve(app_of(VECTOR))

    answer = infer(served, {"id": "a", "inputs": [given("x", "FP32", [2], data=[1, 2.5])]})

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-call-id"]
    (output,) = answer.json["outputs"]
    assert answer.json["id"] == "a"
    assert answer.json["model_name"] == "echo"
    assert output == {"name": "output", "datatype": "FP32", "shape": [2], "data": [1.0, 2.5]}


def test_binary_tensors_lie_behind_the_json_in_their_order(serve, app_of):
    served = serve(app_of(VECTOR, TEXT), behave=_answer_text)
    inputs = [
        given("x", "FP32", [2], parameters={"binary_data_size": 8}),
        given("text", "BYTES", [1], parameters={"binary_data_size": 6}),
    ]

    answer = infer(
        served,
        {"inputs": inputs, "parameters": {"binary_data_output": True}},
        bytes(8) + b"\x02\0\0\0hi",
    )

    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 6}
    assert answer.body[length:] == b"\x02\0\0\0hi"


async def _answer_text(call):
    return Reply(value=call.values["text"])


@pytest.mark.parametrize(
    ("request_", "behind", "length", "said"),
    [
        pytest.param(b"{", b"", None, "no inference request", id="no JSON"),
        pytest.param({}, b"", None, "missing required field `inputs`", id="no inputs"),
        pytest.param({"inputs": [{"name": "x"}]}, b"", None, "missing required field", id="half an input"),
        pytest.param({"inputs": [given("x", "FP32", [-2])]}, b"", None, ">= 0", id="negative length"),
        pytest.param({"inputs": [given("x", "FP32", [2])]}, b"", None, "its data has 0", id="no data"),
        pytest.param({"inputs": []}, b"", 5000, "was '5000', the body has", id="header length beyond body"),
        pytest.param({"inputs": []}, b"", "-1", "was '-1'", id="negative header length"),
        pytest.param({"inputs": []}, b"xyz", None, "3 bytes of the body belong to no input", id="left over"),
        pytest.param(
            {"inputs": [given("x", "FP32", [2], parameters={"binary_data_size": 9})]},
            bytes(8),
            None,
            "binary_data_size was 9, 8 bytes are left",
            id="more binary than there is",
        ),
        pytest.param(
            {"inputs": [given("x", "FP32", [2], parameters={"shared_memory_region": "r"})]},
            b"",
            None,
            "shared memory",
            id="shared memory",
        ),
        pytest.param(
            {"inputs": [given("x", "FP32", [2], data=[1, 2])], "parameters": {"timeout": -1}},
            b"",
            None,
            "'timeout' was -1",
            id="timeout",
        ),
        pytest.param(
            {"inputs": [given("x", "FP32", [2], data=[1, 2])], "parameters": {"timeout": 10**400}},
            b"",
            None,
            f"'timeout' was 1{'0' * 39}, allowed",
            id="timeout beyond any",
        ),
    ],
)
def test_a_malformed_request_is_an_error_of_the_protocol(vectors, request_, behind, length, said):
    answer = infer(vectors, request_, behind, length)

    assert answer.status == 400
    assert answer.json.keys() == {"error"}
    assert said in answer.json["error"]


def test_compressed_bodies_are_refused(serve, app_of):
    answer = infer(serve(app_of(VECTOR)), {"inputs": []}, Content_Encoding="gzip")

    assert answer.status == 415
    assert "Content-Encoding" in answer.json["error"]


def test_a_body_over_the_limit_is_refused_in_the_protocol_s_form(serve, app_of):
    answer = infer(serve(app_of(VECTOR), max_body=100), {"inputs": [], "id": "x" * 200})

    assert answer.status == 413
    assert "100 bytes" in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/v2/models/nobody", 404, id="unknown model"),
        pytest.param("GET", "/v2/models/echo/versions/9", 404, id="unknown version"),
        pytest.param("GET", "/v2/models/echo/nonsense", 404, id="unknown verb"),
        pytest.param("GET", "/v2/nonsense", 404, id="unknown path"),
        pytest.param("GET", INFER, 405, id="infer by GET"),
        pytest.param("POST", "/v2/models/echo", 405, id="metadata by POST"),
        pytest.param("GET", "/v2/repository/index", 405, id="index by GET"),
        pytest.param("POST", "/v2/models/nobody/infer", 400, id="infer without a body"),
    ],
)
def test_what_is_not_there_is_an_error_of_the_protocol(serve, app_of, method, path, status):
    answer = serve(app_of(VECTOR)).request(method, path)

    assert answer.status == status
    assert answer.json.keys() == {"error"}
    assert ("allow" in answer.headers) == (status == 405)


def test_a_failure_keeps_its_status_and_names_the_stage(serve, app_of):
    async def fail(_call):
        raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, "full", stage="act", headers={"Retry-After": "1"})

    answer = infer(serve(app_of(VECTOR), behave=fail), {"inputs": [given("x", "FP32", [2], data=[1, 2])]})

    assert (answer.status, answer.json) == (503, {"error": "stage act: full"})
    assert answer.headers["retry-after"] == "1"


def test_a_timeout_of_the_request_lowers_the_deadline(serve, app_of):
    served = serve(app_of(VECTOR, slo=60.0))

    infer(served, {"inputs": [given("x", "FP32", [2], data=[1, 2])], "parameters": {"timeout": 250_000}})

    call = served.service.calls[0]
    assert call.deadline - call.arrived == pytest.approx(0.25)


def test_requests_are_counted_as_all_others(serve, app_of):
    served = serve(app_of(VECTOR))

    infer(served, {"inputs": [given("x", "FP32", [3, 2], data=[0] * 6)]})

    _, page = served.measure.page()
    assert b'http_requests_total{code="200",method="POST"} 1.0' in page
    assert len(served.service.calls) == 3


def test_paths_of_the_protocol_belong_to_an_app_that_takes_whole_requests(serve, app_of):
    served = serve(app_of(Parameter(name="event", kind="request")), behave=_answer_path)

    assert served.request("GET", "/v2/health/live").body == b"/v2/health/live"


async def _answer_path(call):
    return Reply(value=call.values["event"].path)
