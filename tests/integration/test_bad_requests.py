"""Whatever a caller sends, the answer is one clear problem, and the next request is served."""

import importlib.util
import io
import json
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import requests

PAGE = Path(importlib.util.find_spec("skimage").origin).parent / "data" / "page.png"
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture(scope="module")
def acts(module_serve):
    return module_serve("acts.py", "--grain", "fine", max_body="4Ki")


@pytest.fixture(scope="module")
def hasty(module_serve):
    return module_serve("acts.py", "--grain", "fine", body_timeout="200ms")


@pytest.fixture(scope="module")
def tensor(module_serve):
    return module_serve("tensor.py")


@pytest.fixture(scope="module")
def ocr(module_serve):
    root = Path(__file__).parents[2]
    return module_serve(
        root / "examples" / "ocr",
        *("--grain", "decode | detect+crop+orient+recognise+assemble"),
        slo="60s",  # nothing is shed on a busy machine
    )


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(PAGE.read_bytes()[:20_000], "truncated", id="cut short"),
        pytest.param(b"not an image", "no image", id="no image"),
    ],
)
def test_a_damaged_image_is_the_callers_error_at_the_stage_that_decodes_it(problem, ocr, body, said):
    problem(ocr.post(body, headers={"Content-Type": "image/png"}), 400, said, stage="decode")


def test_an_empty_image_is_refused_before_any_stage(problem, ocr):
    problem(ocr.post(b""), 400, "'image' is missing")


def test_after_damaged_images_a_whole_one_is_read(ocr):
    page = ocr.post(PAGE.read_bytes(), headers={"Content-Type": "image/png"})

    assert "fresh interpreters" not in ocr.output
    assert "Letusfirstdeterminemarkersofthecoinsandthebackground" in "".join(page.json()["text"].split())


def test_an_empty_body_names_the_parameter_that_is_missing(problem, acts):
    problem(acts.post(), 400, "'do' is missing")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"{", "no JSON", id="no JSON"),
        pytest.param(b'{"do": 3}', "'do': expected a string", id="number"),
        pytest.param(b'{"do": null}', "'do': expected a string", id="null"),
        pytest.param(b'["do"]', "", id="list"),
        pytest.param(
            b'{"do": "x", "who": 1}', "no parameter 'who'; the app takes do (str), note (str)", id="unknown"
        ),
        pytest.param(b'{"note": "x"}', "'do' is missing", id="missing"),
        pytest.param(b'{"do": "\xff"}', "no JSON", id="no UTF-8"),
        pytest.param(b"[" * 4000, "no JSON", id="deep"),
        pytest.param(b'{"do": "x", "do": "y"}{}', "no JSON", id="two values"),
    ],
)
def test_json_that_does_not_fit_is_refused(problem, acts, body, said):
    problem(acts.post(body, headers=JSON), 400, said)


def test_a_parameter_of_no_such_name_in_the_query_is_refused(problem, acts):
    problem(acts.post(b"{}", headers=JSON, path="/?who=1"), 400, "no parameter 'who'")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(npy(np.zeros((2, 4), np.float32)), "[-1, 3]", id="shape"),
        pytest.param(npy(np.zeros((2, 3), np.float64)), "FP32", id="dtype"),
        pytest.param(npy(np.zeros(3, np.float32)), "[-1, 3]", id="dimensions"),
        pytest.param(npy(np.zeros((2, 3), np.float32))[:-1], "", id="cut short"),
        pytest.param(b"\x93NUMPY\x01\x00\xff\xff{", "", id="cut in its header"),
        pytest.param(b"no array", "", id="no array"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(problem, tensor, body, said):
    told = problem(tensor.post(body, headers=NPY), 400, said)

    assert "pixels" in told["detail"]


def test_an_array_of_objects_is_refused_and_never_unpickled(problem, tensor, tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.write_text, (tmp_path / "run", "")

    file = io.BytesIO()
    np.save(file, np.array([Evil()], object), allow_pickle=True)

    problem(tensor.post(file.getvalue(), headers=NPY), 400)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"pixels": [[1, 2]]}, "[-1, 3]", id="shape"),
        pytest.param({"pixels": [[1, 2, 3], [4]]}, "", id="ragged"),
        pytest.param({"pixels": [["a", "b", "c"]]}, "", id="strings"),
        pytest.param({"pixels": "x"}, "", id="no list"),
        pytest.param(
            {"pixels": [[1, 2, 3]], "options": {"factor": "2", "names": []}}, "factor", id="field's type"
        ),
        pytest.param({"pixels": [[1, 2, 3]], "options": {"factor": 2}}, "names", id="field missing"),
        pytest.param(
            {"pixels": [[1, 2, 3]], "options": {"factor": 2, "names": [1]}}, "names[0]", id="item's type"
        ),
        pytest.param({"pixels": [[1, 2, 3]], "options": 7}, "options", id="no object"),
    ],
)
def test_json_of_the_wrong_shape_is_refused_naming_the_place(problem, tensor, values, said):
    problem(tensor.call(**values), 400, said)


def test_what_fits_is_served_as_json_and_as_npy(tensor):
    pixels = np.arange(6, dtype=np.float32).reshape(2, 3)

    as_json = tensor.call(pixels=pixels.tolist(), options={"factor": 2, "names": []})
    as_npy = tensor.post(npy(pixels), headers=NPY | {"Accept": "application/x-npy"})

    assert as_json.json() == (pixels * 2).tolist()
    assert (np.load(io.BytesIO(as_npy.content)) == pixels).all()


def test_a_body_of_a_type_that_says_nothing_to_the_app_is_refused(problem, acts):
    problem(acts.post(b"\x89PNG", headers={"Content-Type": "image/png"}), 415, "allowed are application/json")


def test_an_answer_in_a_form_that_there_is_not_is_refused_before_it_is_made(problem, tensor):
    problem(tensor.post(b"[[1,2,3]]", headers=JSON | {"Accept": "image/png"}), 406, "application/x-npy")


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/predict", 404)])
def test_an_unknown_path_is_told_with_those_that_there_are(problem, acts, method, path, status):
    problem(requests.request(method, acts.url + path, timeout=60), status, "/_/openapi.json")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/", "POST"), ("DELETE", "/", "POST"), ("POST", "/_/ready", "GET")],
)
def test_a_wrong_method_is_told_with_the_allowed_ones(problem, acts, method, path, allowed):
    response = requests.request(method, acts.url + path, timeout=60)

    problem(response, 405, allowed)
    assert allowed in response.headers["Allow"]


def test_a_body_over_the_limit_is_refused(problem, acts):
    problem(acts.post(b"x" * 4097, headers=JSON), 413, "4096 bytes (REGRAIN_MAX_BODY)")


def test_a_body_over_the_limit_without_a_length_is_refused(problem, acts):
    problem(acts.post(iter([b"x" * 1000] * 5), headers=JSON), 413, "4096 bytes (REGRAIN_MAX_BODY)")


def test_curl_that_waits_for_leave_to_send_is_refused_too(acts, tmp_path):
    (tmp_path / "body").write_bytes(b"x" * (2 << 20))

    waits = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"]
    told = subprocess.run(
        ["curl", "-s", *waits, "--data-binary", f"@{tmp_path / 'body'}", acts.url],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert json.loads(told.stdout)["status"] == 413


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 10\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
    ids=["length", "chunked"],
)
def test_a_body_that_does_not_come_is_refused(hasty, head):
    with hasty.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head)
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer
    assert b"REGRAIN_BODY_TIMEOUT" in answer


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (1 << 20) + b"\r\n\r\n", id="huge header"),
        pytest.param(b"GET /" + b"a" * (1 << 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="huge path"),
    ],
)
def test_what_is_no_http_is_refused_and_hurts_nobody(acts, sent):
    with acts.connect() as connection:
        try:
            connection.sendall(sent)
            answer = connection.recv(1000)
        except ConnectionError:
            answer = b""

    assert answer == b"" or answer.split()[1][:1] == b"4"
    assert acts.call(do="x").text == "x"


def test_a_body_that_breaks_off_is_refused(acts):
    with acts.connect() as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"the body broke off" in answer


@pytest.mark.parametrize("wanted", ["a b", "x" * 129, "<script>"])
def test_a_call_id_that_could_do_harm_is_refused(problem, acts, wanted):
    problem(acts.post(b"{}", headers=JSON | {"X-Call-Id": wanted}), 400, "X-Call-Id")


def test_a_refusal_of_a_handler_s_own_is_not_told_as_one_of_a_key(serve, run_cli, tmp_path):
    (tmp_path / "handler.py").write_text(
        'def handle(event, context):\n    return {"statusCode": 401, "body": "who are you?"}\n'
    )
    serve(tmp_path / "handler.py")

    done = run_cli("invoke", "hello")

    assert done.returncode == 1
    assert "401 Unauthorized" in done.stderr
    assert "key" not in done.stderr
