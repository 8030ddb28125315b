"""Sizes and durations as people write them in settings."""

import pytest

from regrain.errors import SpecError
from regrain.units import parse_bytes, parse_seconds, parse_switch, read_whole


@pytest.mark.parametrize(
    ("written", "nbytes"),
    [
        pytest.param(0, 0, id="nothing"),
        pytest.param(4096, 4096, id="a number is bytes"),
        pytest.param("4096", 4096, id="so is a bare number as text"),
        pytest.param("512Mi", 512 * 2**20, id="binary"),
        pytest.param("2Gi", 2 * 2**30, id="gibibytes"),
        pytest.param("1.5Ki", 1536, id="a fraction"),
        pytest.param("1M", 10**6, id="decimal"),
        pytest.param(" 1 Gi ", 2**30, id="with spaces"),
    ],
)
def test_a_size_is_read_as_bytes(written, nbytes):
    assert parse_bytes(written) == nbytes


@pytest.mark.parametrize(
    "written", ["", "Mi", "1mb", "-1", "1 2", "0x10", "nan", "1e3", "٣Mi", -1, True, 1.5, "9" * 400]
)
def test_what_is_no_size_is_refused_with_its_name_and_what_is_allowed(written):
    with pytest.raises(SpecError, match=r'^memory must be bytes or a size like "512Mi"') as caught:
        parse_bytes(written)

    assert repr(written) in str(caught.value)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        pytest.param(0, 0.0, id="none"),
        pytest.param(0.25, 0.25, id="a number is seconds"),
        pytest.param("0.25", 0.25, id="so is a bare number as text"),
        pytest.param("300ms", 0.3, id="milliseconds"),
        pytest.param("1.5s", 1.5, id="seconds"),
        pytest.param("2m", 120.0, id="minutes"),
        pytest.param("1h", 3600.0, id="an hour"),
        pytest.param("50us", 5e-5, id="microseconds"),
        pytest.param("1h1m1.5s", 3661.5, id="several units"),
    ],
)
def test_a_duration_is_read_as_seconds(written, seconds):
    assert parse_seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "1 day",
        "1m30",
        "1m-1s",
        "1m 30s",
        "1s1d",
        "-1s",
        float("nan"),
        float("inf"),
        -0.1,
        False,
        "inf",
        "9" * 400,
    ],
)
def test_what_is_no_duration_is_refused_with_its_name_and_what_is_allowed(written):
    with pytest.raises(SpecError, match=r'^max_wait must be seconds or a duration like "300ms"') as caught:
        parse_seconds(written, "max_wait")

    assert repr(written) in str(caught.value)


@pytest.mark.parametrize(
    ("written", "is_on"),
    [("on", True), ("1", True), (" True ", True), ("off", False), ("0", False), ("FALSE", False)],
)
def test_a_switch_is_read_however_it_is_written(written, is_on):
    assert parse_switch(written) is is_on


@pytest.mark.parametrize("written", ["", "yes", "2", "on off"])
def test_what_is_no_switch_is_refused_with_its_name_and_what_is_allowed(written):
    with pytest.raises(SpecError, match="adapt must be on or off, was"):
        parse_switch(written, "adapt")


@pytest.mark.parametrize(("written", "number"), [("0", 0), ("7", 7), ("0010", 10), ("10", 10)])
def test_a_whole_number_within_bounds_is_read(written, number):
    assert read_whole(written, range(11)) == number


@pytest.mark.parametrize("written", ["", "-1", "11", "1.0", "1_0", "²", "٣", "0000000005000", "0" * 5000])
def test_what_is_no_whole_number_within_bounds_is_none(written):
    assert read_whole(written, range(11)) is None
