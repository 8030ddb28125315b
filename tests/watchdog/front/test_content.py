import base64
import json

import numpy as np
import pytest

from regrain.errors import RequestError
from regrain.manifest import Parameter, TensorSpec
from regrain_watchdog.front import npy
from regrain_watchdog.front.content import Inputs

IMAGE = Parameter(name="image", kind="bytes")
TITLE = Parameter(name="title", kind="str")
OPTIONS = Parameter(name="options", kind="json", required=False)
PIXELS = Parameter(name="pixels", kind="array", tensor=TensorSpec(datatype="FP32", shape=(-1, 2)))
COUNTS = Parameter(name="counts", kind="array", tensor=TensorSpec(datatype="UINT8", shape=(-1,)))
ANY_ARRAY = Parameter(name="data", kind="array")
BOX = Parameter(name="box", kind="json")


def _read(*parameters, body=b"", content_type="", query=""):
    return Inputs(parameters).read(body, content_type, query)


def _refused(*parameters, body=b"", content_type="", query=""):
    with pytest.raises(RequestError) as caught:
        _read(*parameters, body=body, content_type=content_type, query=query)
    return int(caught.value.status), caught.value.detail


def _json(value):
    return {"body": json.dumps(value).encode(), "content_type": "application/json; charset=utf-8"}


def _form(*parts):
    lines = []
    for name, content_type, body in parts:
        lines += [b"--b0", f'Content-Disposition: form-data; name="{name}"; filename="x"'.encode()]
        lines += [f"Content-Type: {content_type}".encode()] if content_type else []
        lines += [b"", body]
    return {
        "body": b"\r\n".join([*lines, b"--b0--", b""]),
        "content_type": "multipart/form-data; boundary=b0",
    }


@pytest.mark.parametrize(
    "content_type",
    [
        "application/octet-stream",
        "image/png",
        "IMAGE/JPEG",
        "application/x-www-form-urlencoded",
        "text/plain",
        "",
    ],
)
def test_a_lone_bytes_parameter_takes_any_body_as_it_is(content_type):
    assert _read(IMAGE, body=b"\xff{", content_type=content_type) == {"image": b"\xff{"}


def test_a_bytes_parameter_beside_optional_ones_takes_the_body():
    assert _read(IMAGE, OPTIONS, body=b"x", content_type="image/png") == {"image": b"x"}


def test_json_by_parameter_name():
    body = _json({"image": base64.b64encode(b"\x00x").decode(), "title": "t", "options": {"a": [1]}})

    assert _read(IMAGE, TITLE, OPTIONS, **body) == {"image": b"\x00x", "title": "t", "options": {"a": [1]}}


def test_json_that_is_no_object_is_the_value_of_the_one_parameter():
    assert _read(BOX, **_json([1, 2])) == {"box": [1, 2]}


def test_an_object_without_the_parameters_name_is_the_value_of_a_lone_json_parameter():
    assert _read(BOX, **_json({"x": 1})) == {"box": {"x": 1}}
    assert _read(BOX, **_json({"box": {"x": 1}})) == {"box": {"x": 1}}


def test_curls_default_type_is_read_as_the_parameter_says():
    curl = "application/x-www-form-urlencoded"

    assert _read(BOX, body=b'{"x": 1}', content_type=curl) == {"box": {"x": 1}}
    assert _read(TITLE, body=b"hello", content_type=curl) == {"title": "hello"}


def test_text_is_the_str_parameter():
    assert _read(TITLE, OPTIONS, body="é".encode(), content_type="text/plain") == {"title": "é"}


def test_query_and_body_give_parameters_together():
    assert _read(IMAGE, TITLE, body=b"x", content_type="image/png", query="title=a%20b") == {
        "image": b"x",
        "title": "a b",
    }


def test_a_multipart_body_gives_parameters_each_by_its_own_type():
    array = np.ones((3, 2), np.float32)
    form = _form(
        ("image", "image/png", b"\r\n--b1\x00"),
        ("title", "", b"t"),
        ("options", "application/json", b'{"a": 1}'),
        ("pixels", "application/x-npy", npy.write(array)),
    )

    values = _read(IMAGE, TITLE, OPTIONS, PIXELS, **form)

    assert np.array_equal(values.pop("pixels"), array)
    assert values == {"image": b"\r\n--b1\x00", "title": "t", "options": {"a": 1}}


def test_lists_in_json_become_arrays_of_the_declared_dtype():
    pixels = _read(PIXELS, **_json([[1, 2], [3.5, 4]]))["pixels"]

    assert (pixels.dtype, pixels.tolist()) == (np.float32, [[1.0, 2.0], [3.5, 4.0]])


def test_an_array_that_declares_nothing_takes_any_numbers():
    assert _read(ANY_ARRAY, **_json({"data": [[1], [2]]}))["data"].shape == (2, 1)


def test_no_body_is_fine_where_all_parameters_have_defaults():
    assert _read(OPTIONS) == {}


@pytest.mark.parametrize(
    ("parameters", "request_", "status", "detail"),
    [
        pytest.param((IMAGE,), {}, 400, "the request has no body: parameter 'image' is missing", id="empty"),
        pytest.param(
            (IMAGE, TITLE),
            _json({"image": ""}),
            400,
            "parameter 'title' is missing; the app takes",
            id="missing",
        ),
        pytest.param(
            (TITLE,),
            _json({"name": "x"}),
            400,
            "no parameter 'name'; the app takes title (str)",
            id="unknown",
        ),
        pytest.param(
            (BOX,), _json({"box": 1, "more": 2}), 400, "no parameter 'more'", id="unknown beside the known"
        ),
        pytest.param(
            (TITLE, IMAGE), _json([1]), 400, "must be a JSON object by parameter name", id="no object"
        ),
        pytest.param(
            (BOX,), {"body": b"{", "content_type": "application/json"}, 400, "no JSON", id="truncated"
        ),
        pytest.param(
            (BOX,),
            {"body": b"[" * 100_000, "content_type": "application/json"},
            400,
            "no JSON",
            id="too deep",
        ),
        pytest.param(
            (TITLE,), _json({"title": 7}), 400, "expected a string, got int", id="number for a string"
        ),
        pytest.param((IMAGE,), _json({"image": "%%"}), 400, "base64", id="no base64"),
        pytest.param((IMAGE,), _json({"image": [1]}), 400, "base64 string, got a list", id="list for bytes"),
        pytest.param((PIXELS,), _json([[1, 2], [3]]), 400, "lists of different lengths", id="ragged"),
        pytest.param(
            (PIXELS,), _json([[1, 2, 3]]), 400, "expected shape [-1, 2], got [1, 3]", id="wrong shape"
        ),
        pytest.param((PIXELS,), _json([["a", "b"]]), 400, "array of numbers", id="text for numbers"),
        pytest.param((COUNTS,), _json([300]), 400, "expected UINT8", id="number too large"),
        pytest.param((COUNTS,), _json([1.5]), 400, "expected UINT8", id="fraction for a whole number"),
        pytest.param(
            (COUNTS,), _json({"counts": {"a": 1}}), 400, "expected an array", id="object for an array"
        ),
        pytest.param(
            (PIXELS,),
            {"body": npy.write(np.zeros((1, 2))), "content_type": "application/x-npy"},
            400,
            "expected FP32, got FP64",
            id="wrong dtype",
        ),
        pytest.param(
            (PIXELS,),
            {"body": b"no npy", "content_type": "application/x-npy"},
            400,
            "parameter 'pixels' is no .npy file",
            id="no npy",
        ),
        pytest.param(
            (TITLE,), {"body": b"\xff", "content_type": "text/plain"}, 400, "text in UTF-8", id="no text"
        ),
        pytest.param(
            (BOX,), {"body": b"x", "content_type": "image/png"}, 415, "image/png", id="type of no use"
        ),
        pytest.param(
            (PIXELS, COUNTS),
            {"body": npy.write(np.zeros(2, np.uint8)), "content_type": "application/x-npy"},
            415,
            "allowed are application/json, multipart/form-data; the app takes pixels (array)",
            id="two that it could be for",
        ),
        pytest.param(
            (TITLE,),
            {"body": b"x", "content_type": "text/plain", "query": "title=a"},
            415,
            "allowed are application/json, multipart/form-data; the app takes title (str)",
            id="none that is left for it",
        ),
        pytest.param((TITLE,), {"query": "name=x"}, 400, "no parameter 'name'", id="unknown in the query"),
        pytest.param(
            (BOX,), {"query": "box=1"}, 400, "cannot be in the query string", id="no string in the query"
        ),
        pytest.param((TITLE,), {"query": "title=a&title=b"}, 400, "'title' is given twice", id="twice"),
        pytest.param(
            (TITLE,),
            _json({"title": "a"}) | {"query": "title=b"},
            400,
            "'title' is given twice",
            id="in both",
        ),
        pytest.param(
            (TITLE,), {"query": "&".join(["title=a"] * 300)}, 400, "query string", id="endless query"
        ),
        pytest.param(
            (TITLE,),
            {"body": b"x", "content_type": "multipart/form-data"},
            400,
            "no boundary",
            id="no boundary",
        ),
        pytest.param((TITLE,), _form(("name", "", b"x")), 400, "no parameter 'name'", id="unknown part"),
        pytest.param(
            (TITLE, OPTIONS),
            _form(("title", "", b"x"), ("options", "image/png", b"x")),
            415,
            "'options' (json) cannot be read from 'image/png', allowed are application/json",
            id="part of a useless type",
        ),
        pytest.param((), _json({"x": 1}), 400, "the app takes no parameters", id="no parameters at all"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_saying_what_does(parameters, request_, status, detail):
    found = _refused(*parameters, **request_)

    assert found[0] == status
    assert detail in found[1]
