import io

import numpy as np
import pytest

from regrain_watchdog.front import npy


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.arange(6, dtype=np.float32).reshape(2, 3), id="C order"),
        pytest.param(np.asfortranarray(np.arange(6).reshape(2, 3)), id="Fortran order"),
        pytest.param(np.arange(3, dtype=">i4"), id="big endian"),
        pytest.param(np.zeros((0, 4), np.uint8), id="empty"),
        pytest.param(np.array(1.5), id="scalar"),
        pytest.param(np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), id="structured"),
        pytest.param(np.array(["2026-01-01"], dtype="M8[D]"), id="dates"),
    ],
)
def test_an_array_comes_back_as_it_went(array):
    back = npy.read(npy.write(array))

    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)


def test_a_read_array_is_a_view_of_the_body():
    body = npy.write(np.arange(1000))

    assert npy.read(body).base is not None
    assert not npy.read(body).flags.writeable


def _saved(array):
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


GOOD = npy.write(np.arange(10))


def _headed(header):
    """An .npy file with this header and nothing else."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "no .npy file", id="empty"),
        pytest.param(b"\x93NUMPY", "no .npy file", id="magic alone"),
        pytest.param(GOOD[:30], "no .npy file", id="truncated header"),
        pytest.param(GOOD[:-1], "makes 80 bytes, with 79 bytes", id="truncated data"),
        pytest.param(GOOD + b"x", "with 81 bytes", id="trailing data"),
        pytest.param(GOOD.replace(b"(10,)", b"(1 ,)"), "makes 8 bytes", id="lying shape"),
        pytest.param(GOOD.replace(b"(10,)", b"(-1,)"), "no .npy file|makes -8 bytes", id="negative shape"),
        pytest.param(GOOD.replace(b"(10,)", b"(9**9,)"), "no .npy file", id="code in the header"),
        pytest.param(b"\x93NUMPY\x03\x00" + GOOD[8:], "format version", id="unknown version"),
        pytest.param(GOOD.replace(b"<i8", b"<U0"), "plain data", id="items of no bytes"),
        pytest.param(_saved(np.array([{}], dtype=object)), "Python objects", id="pickle inside"),
        pytest.param(GOOD.replace(b"(10,)", b"(True,)"), "makes 8 bytes", id="a boolean length"),
        pytest.param(
            _headed("{'descr': '<i8', 'fortran_order': False, 'shape': (True, -1)}"),
            "-8 bytes",
            id="booleans",
        ),
        pytest.param(GOOD.replace(b"}", b" "), "no .npy file", id="header without an end"),
        pytest.param(
            _headed("{'descr': (), 'fortran_order': False, 'shape': (0,)}"), "no .npy file", id="no dtype"
        ),
        pytest.param(_headed("-" * 9000 + "1"), "no .npy file", id="signs beyond count"),
        pytest.param(_headed("(" * 9000), "no .npy file", id="parentheses beyond count"),
        pytest.param(_headed("{'a': 1,\n   2\n 3"), "no .npy file", id="odd indents"),
    ],
)
def test_what_is_no_npy_file_is_refused(body, reason):
    with pytest.raises(ValueError, match=reason):
        npy.read(body)


def test_objects_are_not_written():
    with pytest.raises(ValueError, match="Object arrays"):
        npy.write(np.array([{}], dtype=object))
