"""A stage's digest changes with what its code reaches, and with nothing else."""

import sys

import pytest

from regrain_runtime import module

APP = """
import numpy as np
from helpers_of_reach import scaled
import helpers_of_reach as helpers

from regrain import App

app = App("reach")
ROWS = 8
SIDES = (3, 4)
OTHER = 1


def halved(value: int) -> int:
    return round_down(value / 2)


def round_down(value: float) -> int:
    return int(value)


class Base:
    def area(self) -> int:
        return SIDES[0] * SIDES[1]


@app.stage()
class Shape(Base):
    def __call__(self, value: int) -> int:
        return self.area() + value


@app.stage()
def half(value: int) -> int:
    return max(halved(one) for one in [value]) + ROWS


@app.stage()
def scale(value: int) -> int:
    return scaled(value) + helpers.offset()


@app.stage()
def alone(value: int) -> int:
    return int(np.abs(value)) + 1


@app.flow
def flow(value: int) -> int:
    return alone(scale(half(Shape(value))))
"""
HELPERS = """
FACTOR = 3


def scaled(value):
    return value * FACTOR


def offset():
    return 1


def unused():
    return 2
"""


@pytest.fixture
def digests(tmp_path, monkeypatch):
    """Return the digests of an app's stages, read from its files anew."""

    def read(app=APP, helpers=HELPERS):
        here = tmp_path / str(len(list(tmp_path.iterdir())))
        here.mkdir()
        (here / "helpers_of_reach.py").write_text(helpers)
        (here / "app_of_reach.py").write_text(app)
        for name in ("helpers_of_reach", "app_of_reach"):
            sys.modules.pop(name, None)
        monkeypatch.setattr(sys, "path", [str(here), *sys.path])
        target = str(here / "app_of_reach.py")
        return {stage.name: stage.digest for stage in module.manifest(module.load(target), target).stages}

    yield read
    for name in ("helpers_of_reach", "app_of_reach"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        pytest.param("+ 1\n", "+ 2\n", {"alone"}, id="a stage"),
        pytest.param("value / 2", "value / 4", {"half"}, id="a helper"),
        pytest.param("return int(value)", "return int(value) - 1", {"half"}, id="a helper's helper"),
        pytest.param("ROWS = 8", "ROWS = 9", {"half"}, id="a constant"),
        pytest.param("(3, 4)", "(3, 5)", {"Shape"}, id="a constant of a base class"),
        pytest.param("OTHER = 1", "OTHER = 2", set(), id="what nobody uses"),
        pytest.param('App("reach")', 'App("reach", grain="fine")', set(), id="the app"),
    ],
)
def test_an_edit_changes_the_stages_that_reach_it(digests, old, new, changed):
    before = digests()
    assert old in APP

    after = digests(APP.replace(old, new))

    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        pytest.param("FACTOR = 3", "FACTOR = 4", {"scale"}, id="a constant"),
        pytest.param("return 1", "return 11", {"scale"}, id="by the module's name"),
        pytest.param("return 2", "return 22", set(), id="what nobody uses"),
    ],
)
def test_an_edit_of_a_module_beside_the_app_changes_the_stages_that_use_it(digests, old, new, changed):
    before = digests()

    after = digests(helpers=HELPERS.replace(old, new))

    assert {name for name in before if before[name] != after[name]} == changed


def test_the_same_code_elsewhere_has_the_same_digests(digests):
    assert digests() == digests()
