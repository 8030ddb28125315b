"""What the stream app answers."""

import importlib.util
import sys
from pathlib import Path

import pytest

from regrain import testing


@pytest.fixture(scope="module")
def stream():
    """The app's module, under a name of its own: every example has an app.py."""
    spec = importlib.util.spec_from_file_location("stream_app", Path(__file__).parent / "app.py")
    module = sys.modules["stream_app"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["stream_app"]


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_a_test_gets_the_items_as_a_list(stream, grain):
    words = testing.run(stream.app, "rain", grain=grain)

    assert [word.word for word in words] == ["Rain", *stream.WORDS]
    assert words[-1].text == "Rain falls on every grain of sand"


def test_its_flow_is_a_plain_generator(stream):
    words = stream.tell("dust")

    assert next(words) == stream.Word("Dust", "Dust")
    assert next(words).text == "Dust falls"


def test_its_manifest_describes_one_item(stream):
    manifest = stream.app.manifest()

    assert manifest.stage("write").streams
    assert manifest.answer.schema["$defs"]["Word"]["properties"].keys() == {"word", "text"}
