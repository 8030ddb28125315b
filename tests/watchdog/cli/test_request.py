import io
import sys

import msgspec
import pytest
from urllib3.fields import RequestField

from regrain.errors import SpecError
from regrain_watchdog.cli.request import read


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param('{"name": "world"}', "application/json", id="object"),
        pytest.param("[1, 2]", "application/json", id="list"),
        pytest.param('"text"', "application/json", id="string"),
        pytest.param("some text", "text/plain", id="text"),
        pytest.param("{not json", "text/plain", id="almost json"),
        pytest.param("42", "text/plain", id="a bare number is text"),
    ],
)
def test_a_literal_body_is_json_or_text_by_its_looks(body, content_type):
    request = read(body, (), "")

    assert (request.data, request.content_type) == (body.encode(), content_type)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("page.png", "image/png"),
        ("a.npy", "application/x-npy"),
        ("a.JSON", "application/json"),
        ("blob", "application/octet-stream"),
    ],
)
def test_a_file_has_the_type_of_its_ending(tmp_path, name, content_type):
    path = tmp_path / name
    path.write_bytes(b"\x00\xff")

    request = read(f"@{path}", (), "")

    assert (request.data, request.content_type) == (b"\x00\xff", content_type)


def test_the_type_given_wins():
    assert read("1", (), "application/json").content_type == "application/json"


def test_standard_input_is_sent_as_it_is(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x00\x01")))

    assert read("-", (), "").data == b"\x00\x01"


def test_parameters_make_a_json_object():
    request = read(None, ("n=5", "name=world", "flags=[true, null]"), "")

    assert msgspec.json.decode(request.data) == {"n": 5, "name": "world", "flags": [True, None]}
    assert request.content_type == "application/json"


def test_a_file_among_the_parameters_makes_a_form(tmp_path):
    path = tmp_path / "page.png"
    path.write_bytes(b"\x89PNG")

    request = read(None, (f"image=@{path}", "n=5", "name=world"), "")

    assert request.content_type.startswith("multipart/form-data; boundary=")
    for name, content_type in (("image", "image/png"), ("n", "application/json"), ("name", "text/plain")):
        part = RequestField(name, b"", "page.png" if name == "image" else name)
        part.make_multipart(content_type=content_type)
        assert part.render_headers().encode() in request.data


def test_parameters_beside_a_body_go_into_the_address():
    assert read("text", ("language=en",), "").query == {"language": "en"}


@pytest.mark.parametrize(
    ("body", "params", "said"),
    [
        pytest.param(None, ("name",), "name=value or name=@file, was 'name'", id="no value"),
        pytest.param(None, ("=3",), "was '=3'", id="no name"),
        pytest.param(None, ("a=1", "a=2"), "each parameter once", id="twice"),
        pytest.param("x", ("a=@b",), "goes without BODY", id="a file beside a body"),
        pytest.param("@/nowhere/x.png", (), "/nowhere/x.png cannot be read: No such file", id="no such file"),
    ],
)
def test_what_cannot_be_sent_is_refused(body, params, said):
    with pytest.raises(SpecError, match=said.replace("(", r"\(")):
        read(body, params, "")
