"""Where an app's sample comes from."""

import json
import os

import pytest

from regrain import App
from regrain.errors import SpecError
from regrain.manifest import Sample, dumps
from regrain.sample import LARGEST, read_sample
from regrain.wire import frames


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("page.png", "image/png"),
        ("page.JPG", "image/jpeg"),
        ("batch.npy", "application/x-npy"),
        ("call.json", "application/json"),
        ("words.txt", "text/plain"),
        ("model.unknown", "application/octet-stream"),
        ("bare", "application/octet-stream"),
    ],
)
def test_a_file_beside_the_app_is_a_body_of_its_type(tmp_path, name, content_type):
    (tmp_path / name).write_bytes(b"body")

    assert read_sample(name, tmp_path) == Sample(content_type=content_type, body=b"body")


def test_a_path_may_be_absolute(tmp_path):
    (tmp_path / "a:b.txt").write_text("hello")

    assert read_sample(str(tmp_path / "a:b.txt"), tmp_path / "elsewhere").body == b"hello"


def test_a_sample_may_lie_in_a_package_that_is_not_imported_for_it(tmp_path, monkeypatch):
    (tmp_path / "shapes" / "data").mkdir(parents=True)
    (tmp_path / "shapes" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "shapes" / "data" / "square.txt").write_text("[]")
    monkeypatch.syspath_prepend(tmp_path)

    assert read_sample("shapes:data/square.txt", tmp_path / "elsewhere").body == b"[]"


def test_bytes_are_the_body_and_a_mapping_is_json(tmp_path):
    assert read_sample(b"\0", tmp_path) == Sample(content_type="application/octet-stream", body=b"\0")
    sample = read_sample({"name": "Ada", "times": 2}, tmp_path)
    assert (sample.content_type, json.loads(sample.body)) == ("application/json", {"name": "Ada", "times": 2})


@pytest.mark.parametrize(
    ("sample", "says"),
    [
        pytest.param(
            "gone.png", r"sample 'gone.png' cannot be read: No such file .*gone\.png\); allowed", id="no file"
        ),
        pytest.param(".", "cannot be read: Is a directory", id="a folder"),
        pytest.param("nopackage:page.png", "no package 'nopackage' is installed", id="no package"),
        pytest.param("no.package:page.png", "no package 'no.package' is installed", id="no package in none"),
        pytest.param("sys:page.png", "no package 'sys' is installed", id="a module that is no package"),
        pytest.param("json:page.png", "cannot be read: No such file", id="no such file in a package"),
        pytest.param({"x": {1, 2, object()}}, "the sample cannot be written as JSON", id="no JSON"),
    ],
)
def test_a_sample_that_is_not_there_is_refused_with_what_is_allowed(tmp_path, sample, says):
    with pytest.raises(SpecError, match=says):
        read_sample(sample, tmp_path)


def test_a_sample_that_no_frame_holds_is_refused(tmp_path):
    (tmp_path / "large.bin").touch()
    os.truncate(tmp_path / "large.bin", LARGEST + 1)

    for sample in ("large.bin", bytes(LARGEST + 1), {"text": "x" * LARGEST}):
        with pytest.raises(SpecError, match=r"sample.* is too large; allowed are 47 MiB"):
            read_sample(sample, tmp_path)


def test_the_largest_sample_goes_to_the_front_with_the_manifest():
    app = App("large", sample=bytes(LARGEST))
    same = app.stage(name="same")(lambda data: data)

    @app.flow
    def run(data: bytes) -> bytes:
        return same(data)

    assert len(frames.encode(frames.Hello(dumps(app.manifest()), ""))) > LARGEST
