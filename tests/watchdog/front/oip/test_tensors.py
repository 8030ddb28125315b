import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.arrays import DATATYPES
from regrain.errors import RequestError
from regrain_watchdog.front.oip.tensors import BYTES, Tensor, from_list, from_raw, to_list, to_raw


@pytest.mark.parametrize("datatype", DATATYPES)
def test_numbers_come_back_from_raw_bytes_as_they_were(datatype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(DATATYPES[datatype])

    sent = to_raw(Tensor(name="x", datatype=datatype, shape=(2, 3), data=array))
    found = from_raw("x", datatype, [2, 3], sent)

    assert found.data.dtype == array.dtype
    np.testing.assert_array_equal(found.data, array)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_numbers_come_back_from_lists_as_they_were(datatype):
    array = np.array([[0, 1, 1], [1, 0, 1]]).astype(DATATYPES[datatype])

    data = to_list(Tensor(name="x", datatype=datatype, shape=(2, 3), data=array))
    found = from_list("x", datatype, [2, 3], data)

    assert found.data.dtype == array.dtype
    np.testing.assert_array_equal(found.data, array)


def test_raw_numbers_are_views_of_what_came():
    raw = np.arange(6, dtype="<f4").tobytes()

    found = from_raw("x", "FP32", [2, 3], raw)

    assert not found.data.flags.writeable
    assert np.shares_memory(found.data, np.frombuffer(raw, np.uint8))


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_items_of_bytes_come_back_as_they_were(items):
    tensor = Tensor(name="x", datatype=BYTES, shape=(len(items),), data=items)

    assert from_raw("x", BYTES, [len(items)], to_raw(tensor)) == tensor


@given(st.binary(max_size=40), st.lists(st.integers(-2, 5), max_size=3), st.sampled_from([*DATATYPES, BYTES]))
def test_any_raw_bytes_are_a_tensor_of_their_shape_or_refused(raw, shape, datatype):
    try:
        found = from_raw("x", datatype, shape, raw)
    except RequestError:
        return

    assert found.shape == tuple(shape)
    if datatype != BYTES:
        assert found.data.shape == tuple(shape)


def test_nested_strings_are_flattened_in_order():
    assert from_list("x", BYTES, [2, 2], [["a", "b"], ["c", "d"]]).data == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "said"),
    [
        pytest.param("FP99", [1], b"", "datatype was 'FP99', allowed are BOOL", id="unknown datatype"),
        pytest.param("FP32", [-1], b"", "lengths of 0 or more", id="negative length"),
        pytest.param("FP32", [1] * 40, bytes(4), "up to 32 lengths", id="too many axes"),
        pytest.param("FP32", [1 << 50], b"", "lengths of 0 or more", id="too long"),
        pytest.param("INT8", [1 << 39, 1 << 39], b"", "its data has 0", id="a product beyond 64 bits"),
        pytest.param(
            "FP32", [0, 1 << 40, 1 << 40], b"", "beside lengths of 0", id="nothing, beyond numpy's limit"
        ),
        pytest.param("FP32", [2], bytes(7), "8 bytes of FP32, its data has 7", id="short"),
        pytest.param(BYTES, [2], b"\1\0\0\0a", "2 items, its data has 1", id="too few items"),
        pytest.param(BYTES, [1], b"\5\0\0\0a", "ends within an item", id="cut off"),
        pytest.param(BYTES, [1], b"\5\0", "ends within an item", id="cut off in a length"),
    ],
)
def test_raw_bytes_that_do_not_fit_are_refused(datatype, shape, raw, said):
    with pytest.raises(RequestError) as raised:
        from_raw("x", datatype, shape, raw)

    assert raised.value.status == 400
    assert said in raised.value.detail


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        pytest.param("INT8", [1], [300], "expected INT8", id="out of range"),
        pytest.param("INT32", [1], [1.5], "expected INT32, got FP64", id="a fraction"),
        pytest.param("FP32", [2], [1.0], "2 items, its data has 1", id="too few"),
        pytest.param("FP32", [2], [[1.0], [1.0, 2.0]], "lists of different lengths", id="ragged"),
        pytest.param("FP32", [1], ["a"], "array of numbers", id="text"),
        pytest.param(BYTES, [1], [5], "are strings in JSON, one was a int", id="number as text"),
    ],
)
def test_lists_that_do_not_fit_are_refused(datatype, shape, data, said):
    with pytest.raises(RequestError) as raised:
        from_list("x", datatype, shape, data)

    assert raised.value.status == 400
    assert said in raised.value.detail


def test_bytes_that_are_no_text_are_refused_in_json():
    with pytest.raises(RequestError, match="ask for it with binary_data"):
        to_list(Tensor(name="x", datatype=BYTES, shape=(1,), data=[b"\xff"]))
