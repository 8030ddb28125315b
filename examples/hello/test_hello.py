"""What the hello app answers."""

import importlib.util
from pathlib import Path

import pytest

from regrain import testing


@pytest.fixture(scope="module")
def hello():
    """The app's module, under a name of its own: every example has an app.py."""
    spec = importlib.util.spec_from_file_location("hello_app", Path(__file__).parent / "app.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("grain", ["coarse", "fine"])
def test_it_greets_by_name(hello, grain):
    assert testing.run(hello.app, "Ada", grain=grain) == "Hello, Ada!"


def test_it_greets_the_world_when_nobody_is_named(hello):
    assert testing.run(hello.app) == "Hello, world!"


def test_its_flow_and_its_stage_are_plain_functions(hello):
    assert hello.hello("Ada") == hello.greet("Ada") == "Hello, Ada!"


def test_its_sample_is_a_json_body(hello):
    sample = hello.app.manifest().sample

    assert (sample.content_type, sample.body) == ("application/json", b'{"name":"world"}')
