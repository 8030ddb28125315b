"""HTTP as clients and tools speak it: connections, forms, negotiation, handlers, metrics, OpenAPI."""

import io
import json
import re
import subprocess

import jsonschema
import numpy as np
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

import regrain


@pytest.fixture(scope="module")
def acts(module_serve):
    return module_serve("acts.py", slo="60s")


@pytest.fixture(scope="module")
def tensor(module_serve):
    return module_serve("tensor.py")


@pytest.fixture(scope="module")
def told(module_serve):
    return module_serve("told")


def post(body, *more):
    head = [
        b"POST / HTTP/1.1",
        b"Host: x",
        b"Content-Type: text/plain",
        b"Content-Length: %d" % len(body),
        *more,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def read_response(file):
    status = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, text = line.decode().partition(": ")
        headers[name.lower()] = text
    return status, headers, file.read(int(headers["content-length"]))


def test_a_connection_is_kept_for_many_requests_good_and_bad(acts):
    with acts.connect() as connection, connection.makefile("rb") as file:
        answers = []
        for body in (b"one", b"raise", b"two"):
            connection.sendall(post(body))
            answers.append(read_response(file))

    assert [(status, body) for status, _, body in answers if status == 200] == [(200, b"one"), (200, b"two")]
    assert [status for status, _, _ in answers] == [200, 500, 200]


def test_pipelined_requests_are_answered_in_order(acts):
    with acts.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(b"".join(post(b"%d" % number) for number in range(20)))
        answers = [read_response(file) for _ in range(20)]

    assert [body for _, _, body in answers] == [b"%d" % number for number in range(20)]
    assert len({headers["x-call-id"] for _, headers, _ in answers}) == 20


def test_a_request_in_many_small_pieces_is_read_whole(acts):
    with acts.connect() as connection, connection.makefile("rb") as file:
        for byte in post(b"slowly"):
            connection.sendall(bytes([byte]))
        assert read_response(file)[2] == b"slowly"


def test_curl_sends_and_reads_what_the_example_says(acts):
    line = acts.said(r"regrain: (?:try it|or) with: (curl .*)")[1].replace("TEXT", "hi")

    done = subprocess.run(f"{line} -s", shell=True, capture_output=True, timeout=60, check=True)

    assert done.stdout == b"hi"


def test_the_client_calls_a_served_app(acts, tensor):
    assert regrain.Client(acts.url).invoke(do="x") == "x"
    assert (
        np.asarray(regrain.Client(tensor.url).invoke(np.ones((2, 3), np.float32))).tolist() == [[1, 1, 1]] * 2
    )


def test_a_part_per_parameter_makes_a_call(tensor):
    file = io.BytesIO()
    np.save(file, np.ones((1, 3), np.float32))
    parts = {
        "pixels": ("a.npy", file.getvalue(), "application/x-npy"),
        "options": (None, b'{"factor": 3, "names": []}', "application/json"),
    }

    assert requests.post(tensor.url, files=parts, timeout=60).json() == [[3, 3, 3]]


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        pytest.param({"who": (None, b"x")}, 400, "no parameter 'who'", id="unknown part"),
        pytest.param({"pixels": ("a.png", b"x", "image/png")}, 415, "'pixels'", id="type of a part"),
        pytest.param(
            {"options": (None, b"{}", "application/json")}, 400, "'pixels' is missing", id="missing part"
        ),
    ],
)
def test_a_form_that_does_not_fit_is_refused(tensor, problem, files, status, said):
    problem(requests.post(tensor.url, files=files, timeout=60), status, said)


def test_a_form_that_breaks_off_is_refused(tensor, problem):
    kind = {"Content-Type": "multipart/form-data; boundary=b"}

    problem(
        tensor.post(b'--b\r\nContent-Disposition: form-data; name="pixels"\r\n\r\n[[1', headers=kind), 400
    )
    problem(tensor.post(b"--b--\r\n", headers={"Content-Type": "multipart/form-data"}), 400, "boundary")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("text/html, application/x-npy;q=0.9, */*;q=0.1", "application/x-npy"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
    ],
)
def test_the_caller_chooses_the_form_of_the_answer(tensor, accept, kind):
    response = tensor.post(b"[[1,2,3]]", headers={"Content-Type": "application/json", "Accept": accept})

    assert response.headers["Content-Type"] == kind


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/a/b%20c", "/_"])
def test_a_handler_gets_every_verb_and_path(told, method, path):
    response = requests.request(method, f"{told.url}{path}?k=v&k=w&e=", data=b"body", timeout=60)

    assert response.json() == {
        "method": method,
        "path": path.replace("%20", " "),
        "query": {"k": "v", "e": ""},
        "sent": "body",
        "agent": requests.utils.default_user_agent(),
        "host": True,
    }


def test_a_handler_answers_in_the_ways_of_openfaas_and_flask(told):
    as_dict, flask, raw = told.get("/dict"), told.get("/plain"), told.post(b"\x00\xff", path="/bytes")

    assert (as_dict.status_code, as_dict.json(), as_dict.headers["X-Kind"]) == (201, {"a": [1]}, "dict")
    assert (flask.status_code, flask.text, flask.headers["X-Kind"]) == (202, "text", "flask")
    assert flask.headers["Content-Type"] == "text/plain"
    assert (raw.content, raw.headers["Content-Type"]) == (b"\x00\xff", "application/octet-stream")


@pytest.mark.parametrize(("path", "said"), [("/raise", "handlers fail too"), ("/object", "type object")])
def test_a_handler_that_fails_is_told(told, problem, path, said):
    problem(told.get(path), 500, said, stage="handle")


def test_our_own_paths_are_no_handlers(told, problem):
    assert told.get("/_/health").text == "OK"
    problem(told.get("/_/nothing"), 404)


def test_health_and_readiness_are_said_in_a_word(acts):
    assert [(acts.get(path).status_code, acts.get(path).text) for path in ("/_/health", "/_/ready")] == [
        (200, "OK")
    ] * 2


def test_every_metric_is_named_once_and_documented(acts):
    acts.call(do="x")
    page = requests.get(f"{acts.metrics_url}/metrics", timeout=60)
    families = list(text_string_to_metric_families(page.text))

    assert page.headers["Content-Type"].startswith("text/plain")
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)
    ours = {family.name for family in families if family.name.startswith(("http_", "regrain_"))}
    assert {"http_requests", "regrain_hits", "regrain_stage_seconds", "regrain_replicas"} <= ours


def test_the_buckets_of_a_histogram_add_up(acts):
    for _ in range(3):
        acts.call(do="x")

    count = acts.metric("regrain_stage_seconds_count", stage="act")
    assert acts.metric("regrain_stage_seconds_bucket", stage="act", le="+Inf") == count >= 3
    assert acts.metric("regrain_stage_items_total", stage="act") >= count


def test_hits_and_misses_are_told_from_malformed_requests(acts):
    before = acts.metric("regrain_hits_total"), acts.metric("regrain_misses_total")

    acts.call(do="x")
    acts.call(do="raise")
    acts.call()

    assert (acts.metric("regrain_hits_total"), acts.metric("regrain_misses_total")) == (
        before[0] + 1,
        before[1] + 1,
    )


def test_a_stage_sees_how_much_time_is_left(acts):
    assert 0 < acts.call(do="context").json()["left"] <= 60


def test_a_miss_is_kept_stage_by_stage_under_its_call_id(acts):
    requests.post(acts.url, json={"do": "raise"}, headers={"X-Call-Id": "missed-1"}, timeout=60)

    miss = requests.get(f"{acts.admin_url}/slow/missed-1", timeout=60).json()
    assert (miss["status"], miss["reason"]) == (500, "failed")
    assert "act" in {span["stage"] for span in miss["spans"]}


def test_admin_answers_no_page_that_poses_as_loopback(acts, problem):
    response = requests.get(f"{acts.admin_url}/status", headers={"Host": "evil.example"}, timeout=60)

    assert response.status_code == 403


@pytest.mark.parametrize("name", ["acts", "tensor", "told"])
def test_the_openapi_document_fits_what_is_served(request, name):
    served = request.getfixturevalue(name)
    document = served.get("/_/openapi.json").json()

    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == served.app
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= document["components"]["schemas"].keys()
    for path, operations in document["paths"].items():
        for method in operations:
            answered = requests.request(method, served.url + path, timeout=60).status_code
            assert str(answered) in operations[method]["responses"]


def test_requests_and_answers_fit_the_schemas_of_the_document(tensor):
    document = tensor.get("/_/openapi.json").json()
    operation = document["paths"]["/"]["post"]
    takes = operation["requestBody"]["content"]["application/json"]["schema"]
    gives = operation["responses"]["200"]["content"]["application/json"]["schema"]
    wrong = operation["responses"]["400"]["content"]["application/problem+json"]["schema"]

    def fits(value, schema):
        return jsonschema.Draft202012Validator({**schema, "components": document["components"]}).is_valid(
            value
        )

    good = {"pixels": [[1, 2, 3]], "options": {"factor": 2, "names": []}}
    bads = [
        {"pixels": [[1, 2]]},
        {"pixels": [[1, 2, 3]], "options": {"factor": "x", "names": []}},
        {"who": 1},
        {},
    ]
    assert fits(good, takes)
    assert fits(tensor.call(**good).json(), gives)
    for bad in bads:
        response = tensor.call(**bad)
        assert not fits(bad, takes), bad
        assert response.status_code == 400
        assert fits(response.json(), wrong)
