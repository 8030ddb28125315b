"""What the measures of a stage's input are."""

from dataclasses import dataclass

import numpy as np
import pytest

from regrain.measures import measure


@dataclass(frozen=True)
class Crop:
    name: str
    image: np.ndarray


IMAGE = np.zeros((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("value", "nbytes"),
    [
        pytest.param(b"abc", 3, id="bytes"),
        pytest.param("äb", 3, id="text as UTF-8"),
        pytest.param("\ud800", 3, id="a lone surrogate"),
        pytest.param(np.zeros((2, 3), np.float32), 24, id="an array"),
        pytest.param([b"ab", ("c", {"d": b"ef"})], 6, id="whatever holds them"),
        pytest.param(Crop("ab", IMAGE), 1802, id="a dataclass"),
        pytest.param(3, 0, id="a number has none"),
        pytest.param(None, 0, id="nor has None"),
    ],
)
def test_bytes_are_what_all_arguments_hold_together(value, nbytes):
    assert measure("bytes", (value,)) == nbytes
    assert measure("bytes", (value, value)) == 2 * nbytes


@pytest.mark.parametrize(
    ("values", "count"),
    [
        pytest.param(([1, 2, 3],), 3, id="a list"),
        pytest.param(({"a": 1},), 1, id="a dict"),
        pytest.param((np.zeros((4, 9)),), 4, id="an array's first axis"),
        pytest.param((3, "abcd", [1]), 4, id="the first that has a length"),
        pytest.param((np.float32(3),), 0, id="a scalar has none"),
        pytest.param((), 0, id="no argument"),
    ],
)
def test_items_are_the_length_of_the_first_argument_that_has_one(values, count):
    assert measure("items", values) == count


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        pytest.param((IMAGE,), 600, id="height, width, channels"),
        pytest.param((IMAGE[:, :, 0],), 600, id="grey"),
        pytest.param((np.zeros((3, 20, 30)),), 600, id="channels first"),
        pytest.param((np.zeros((2, 3, 20, 30)),), 1200, id="a batch of them"),
        pytest.param((np.zeros((9, 20, 30)),), 5400, id="a stack without channels"),
        pytest.param((np.zeros(9), [Crop("a", IMAGE)]), 600, id="the first image, however deep"),
        pytest.param((b"png",), 0, id="an encoded image has none"),
    ],
)
def test_pixels_are_those_of_the_first_image(values, pixels):
    assert measure("pixels", values) == pixels
