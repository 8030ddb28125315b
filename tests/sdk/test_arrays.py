import numpy as np
import pytest

from regrain.arrays import DATATYPES, Tensor, datatype
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
