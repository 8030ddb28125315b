import tracemalloc

import numpy as np
import pytest

from regrain.arrays import DATATYPES, ArrayType, Tensor, as_array, datatype
from regrain.errors import SpecError


@pytest.mark.parametrize("name", DATATYPES)
def test_datatypes_have_a_name_both_ways(name):
    assert datatype(np.dtype(DATATYPES[name])) == name


def test_a_dtype_without_datatype_is_refused():
    with pytest.raises(SpecError, match=r"no datatype for numpy's complex128; there are BOOL"):
        datatype(np.complex128)


def test_an_unknown_datatype_is_refused():
    with pytest.raises(SpecError, match=r"datatype must be one of BOOL, .* was 'float32'"):
        Tensor("float32", (1,))


def test_a_length_under_minus_one_is_refused():
    with pytest.raises(SpecError, match=r"-1 where any length goes, was \(1, -2\)"):
        Tensor("FP32", (1, -2))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([1.0] * 1000 + ["x" * 10_000], id="at the end"),
        pytest.param([["x" * 10_000], *[[1.0]] * 1000], id="within lists"),
        pytest.param([1.0] * 1000 + [b"x" * 10_000], id="as bytes"),
    ],
)
def test_text_among_numbers_is_refused_before_every_item_is_as_wide(value):
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError, match="numbers: expected an array of numbers, got an array of strings"
        ):
            as_array(value, ArrayType(), "numbers")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20


def test_lists_within_more_lists_than_an_array_has_axes_are_refused():
    value = "text"
    for _ in range(200):
        value = [value]

    with pytest.raises(ValueError, match="numbers: expected an array"):
        as_array(value, ArrayType(), "numbers")


def test_an_array_that_there_is_no_memory_for_is_refused():
    class Huge:
        def __array__(self, *_, **__):
            raise MemoryError

    with pytest.raises(ValueError, match="numbers: expected an array, got one that there is no memory for"):
        as_array([Huge()], ArrayType(), "numbers")
