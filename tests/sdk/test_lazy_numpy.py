"""numpy is imported when something of it is used, and not to tell what is an array."""

import subprocess
import sys
from types import ModuleType

import numpy
import pytest

from regrain import lazy_numpy
from regrain.lazy_numpy import array_kinds, is_array, is_exactly_array, is_scalar

PRELUDE = """
import sys
from dataclasses import dataclass
from regrain import calls, lazy_numpy, media
from regrain.wire import codec

@dataclass
class Told:
    name: str

value = [Told("x"), {"a": [1, 2.5, None]}, ("y", b"z"), 1 << 70, "\\ud800"]
"""


class Picture(numpy.ndarray):
    """An array of a class of its own."""


def test_an_array_is_told_from_what_extends_it():
    array = numpy.zeros(3)

    assert array_kinds() == (numpy.ndarray,)
    assert [is_array(value) for value in (array, array.view(Picture), numpy.float64(1), [1], None)] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert [is_exactly_array(value) for value in (array, array.view(Picture), None)] == [True, False, False]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(numpy.float64(1), True), (numpy.str_("a"), True), (numpy.zeros(1), False), (1.0, False)],
)
def test_scalars_are_told(value, expected):
    assert is_scalar(value) is expected


@pytest.mark.parametrize("numpy_here", [None, ModuleType("numpy")], ids=["refused", "half imported"])
def test_nothing_is_an_array_where_numpy_is_not_wholly_there(numpy_here, monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", numpy_here)

    assert array_kinds() == ()
    assert not is_array([1])
    assert not is_exactly_array(None)
    assert not is_scalar(1.0)


def test_what_is_asked_of_np_is_what_numpy_has():
    assert lazy_numpy.np.float32 is numpy.float32
    assert not hasattr(lazy_numpy.np, "no_such_thing")


@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "imported"),
    [
        ("assert codec.unpack(codec.pack(value, None), None) == value", False),
        ("assert codec.fresh(codec.freeze(value)) == value", False),
        ("assert media.decoded(*media.encoded({'a': [1]})) == {'a': [1]}", False),
        ("assert lazy_numpy.np.zeros(2).tolist() == [0, 0]", True),
    ],
    ids=["travels", "is frozen", "is a body", "is made an array"],
)
def test_it_is_imported_only_for_arrays(code, imported):
    told = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}\n{code}\nprint('numpy' in sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert told.stdout.split() == [str(imported)]


@pytest.mark.process
def test_an_array_from_elsewhere_is_read_where_numpy_was_not_imported():
    from regrain.wire import codec

    packed = codec.pack_inline(
        {"sent": numpy.arange(3), "scalar": numpy.float32(0.5), "text": numpy.str_("é")}
    )
    code = f"""
read = codec.unpack_inline({packed!r})
assert read["sent"].tolist() == [0, 1, 2] and read["scalar"] == 0.5
import numpy
assert type(read["sent"]) is numpy.ndarray and type(read["scalar"]) is numpy.float32
assert type(read["text"]) is numpy.str_
assert codec.pack_inline(read) == {packed!r}
"""

    subprocess.run([sys.executable, "-c", PRELUDE + code], timeout=60, check=True)


BATCHED = """
import sys
from typing import Protocol, runtime_checkable
from regrain import App
from regrain.errors import SpecError

@runtime_checkable
class {name}(Protocol):
    def {method}(self) -> object: ...

app = App("typed")

try:
    @app.batched()
    def stage(items: list[int]) -> {name} | None: ...
except SpecError as error:
    assert "returns a list" in str(error)
    print("refused")
else:
    print("numpy" in sys.modules)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("method", "said"),
    [
        pytest.param("copy", "False", id="of lists"),
        pytest.param("argsort", "True", id="of arrays alone"),
        pytest.param("nothing_has_this", "refused", id="of neither"),
    ],
)
def test_a_batched_stage_may_give_what_has_a_protocol_of_arrays(method, said):
    code = BATCHED.format(name="Results", method=method)

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.strip() == said, done.stderr
