"""Every dtype of plain bytes has a name that gives it back."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from regrain.errors import UnsupportedValueError
from regrain.wire.dtypes import dtype_name, dtype_of
from regrain.wire.frames import FrameError

ALIGNED = np.dtype([("a", "u1"), ("b", "<f8"), ("c", "<i2", (2, 3))], align=True)
OVERLAPPING = np.dtype(
    {"names": ["all", "low"], "formats": ["<u4", "<u2"], "offsets": [0, 0], "itemsize": 16}
)
TITLED = np.dtype([(("title", "name"), "<i4"), ("plain", "<f4")])


@pytest.mark.parametrize(
    "dtype", [ALIGNED, OVERLAPPING, TITLED, np.dtype([("n", ALIGNED), ("m", TITLED, 2)])]
)
def test_structures_keep_offsets_alignment_titles_and_size(dtype: np.dtype) -> None:
    new = dtype_of(dtype_name(dtype))

    assert new == dtype
    assert new.fields == dtype.fields
    assert new.itemsize == dtype.itemsize
    assert new.isalignedstruct == dtype.isalignedstruct


@given(
    dtype=hnp.scalar_dtypes() | hnp.nested_dtypes() | hnp.byte_string_dtypes() | hnp.unicode_string_dtypes()
)
def test_a_dtype_comes_back_from_its_name(dtype: np.dtype) -> None:
    assert dtype_of(dtype_name(dtype)) == dtype


@pytest.mark.parametrize("dtype", ["O", [("a", "i4"), ("b", "O")], np.dtypes.StringDType()])
def test_a_dtype_of_objects_has_no_name(dtype: object) -> None:
    with pytest.raises(UnsupportedValueError, match="not plain bytes"):
        dtype_name(np.dtype(dtype))


@given(
    name=st.text(max_size=30)
    | st.sampled_from(["[1]", '["array","<f4",[-1]]', '["struct",-5,true,[]]', "<f7"])
)
def test_another_name_is_a_frame_error(name: str) -> None:
    with contextlib.suppress(FrameError):
        assert not dtype_of(name).hasobject
