"""NumPy's file format from outside and to it.

A body is never trusted: no pickle, the header is bounded, and the shape must fit the bytes that are there, so
that nothing is allocated on a header's word.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.lib import format as npy

MEDIA_TYPES = ("application/x-npy", "application/npy")
MAX_HEADER = 10_000

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]


def read(body: bytes) -> Array:
    """Return the array in an .npy body as a read-only view of it; ValueError says why it is none."""
    stream = io.BytesIO(body)
    try:
        lengths, fortran, dtype = _header(stream)
    except Exception as error:  # numpy has ast and tokenize read it, and lets out whatever they raise
        raise ValueError(f"no .npy file: {_first_line(error)}") from error
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(
            f"an .npy file of dtype {dtype}, allowed are dtypes of plain data (no Python objects)"
        )
    shape = tuple(map(int, lengths))  # numpy lets booleans pass
    start, count = stream.tell(), math.prod(shape)
    if count * dtype.itemsize != len(body) - start:
        raise ValueError(
            f"an .npy file of shape {shape} and dtype {dtype}, which makes {count * dtype.itemsize} bytes, "
            f"with {len(body) - start} bytes"
        )
    if not count:
        return np.empty(shape, dtype)
    return np.frombuffer(body, dtype, offset=start).reshape(shape, order="F" if fortran else "C")


def write(array: Array) -> bytes:
    """Return an array as an .npy file; ValueError if it holds Python objects."""
    out = io.BytesIO()
    npy.write_array(out, np.asarray(array), allow_pickle=False)
    return out.getvalue()


def _header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(stream)
    if version == (1, 0):
        return npy.read_array_header_1_0(stream, max_header_size=MAX_HEADER)
    if version == (2, 0):
        return npy.read_array_header_2_0(stream, max_header_size=MAX_HEADER)
    raise ValueError(f"format version {version}, allowed are (1, 0) and (2, 0)")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
