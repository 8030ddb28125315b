"""What cannot travel, or is not what it says: in either direction one of our errors, whatever the libraries raise."""

import io

import numpy as np
import pytest

from regrain.errors import RequestError, SpecError
from regrain.media import JSON, NPY, decoded, encoded


def endless():
    value = []
    value.append(value)
    return value


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def archive():
    out = io.BytesIO()
    np.savez(out, a=np.arange(2))
    return out.getvalue()


def headed(text):
    """An array's file with this as its header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param("\ud800", "a text that UTF-8 does not hold", id="half a character"),
        pytest.param(
            ["\ud800"], "a value of type list cannot be sent as JSON", id="half a character in JSON"
        ),
        pytest.param(endless(), "a value of type list cannot be sent as JSON", id="a list that holds itself"),
        pytest.param(deep(5_000), "a value of type list cannot be sent as JSON", id="a deep list"),
        pytest.param(np.array([{}]), "an array of object cannot be sent", id="an array of objects"),
    ],
)
def test_what_cannot_be_sent_is_told_as_such(value, said):
    with pytest.raises(SpecError, match=said):
        encoded(value)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"", NPY, id="no array"),
        pytest.param(archive(), NPY, id="an archive of arrays"),
        pytest.param(headed(b"(("), NPY, id="a damaged header"),
        pytest.param(
            headed(b"{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}" % (1 << 45)),
            NPY,
            id="more than memory holds",
        ),
        pytest.param(b"", JSON, id="no JSON"),
        pytest.param(b"[" * 100_000, JSON, id="deep JSON"),
        pytest.param(b'"\xff"', JSON, id="no UTF-8"),
    ],
)
def test_an_answer_that_is_not_what_it_says_is_the_servers_fault(body, kind):
    with pytest.raises(RequestError, match=f"the answer says it is {kind}, and is not: .") as caught:
        decoded(body, kind)

    assert caught.value.status == 502


@pytest.mark.parametrize("array", [np.eye(3, order="F"), np.array(1.5), np.empty((0, 2), np.int8)])
def test_an_array_comes_back_as_it_went_out(array):
    np.testing.assert_array_equal(decoded(*encoded(array)), array, strict=True)
