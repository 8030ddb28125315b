"""What a stage raised as the end of its unit: whatever it holds, a frame can carry it."""

from http import HTTPStatus

import pytest

from regrain.errors import RequestError, UnsupportedValueError
from regrain.outcomes import STATED_LIMIT, Failed, failed

BROKEN = HTTPStatus.INTERNAL_SERVER_ERROR


class BareError(RequestError):
    """Was never made as a RequestError is."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def test_a_request_error_ends_its_unit_as_it_says():
    error = RequestError(HTTPStatus.CONFLICT, "taken", stage="other", headers={"Retry-After": "3"})

    assert failed("a", error) == Failed(HTTPStatus.CONFLICT, "a", "taken", {"retry-after": "3"})


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (409, HTTPStatus.CONFLICT),
        ("400", HTTPStatus.BAD_REQUEST),
        (503.0, HTTPStatus.SERVICE_UNAVAILABLE),
        (200, BROKEN),
        (499, BROKEN),
        (10**400, BROKEN),
        (float("inf"), BROKEN),
        ("four hundred", BROKEN),
        (None, BROKEN),
        (ValueError("bad"), BROKEN),
    ],
)
def test_a_status_is_one_of_an_error(told, status):
    found = failed("a", RequestError(told, "no"))

    assert (found.status, type(found.status), found.detail) == (status, HTTPStatus, "no")


@pytest.mark.parametrize(
    ("told", "detail"),
    [
        (ValueError("bad\n crop"), "bad crop"),
        ("half \ud83d", "half ?"),
        (None, "None"),
        (SpeechlessError(), ""),
        ("a" * 10_000, "a" * STATED_LIMIT),
    ],
)
def test_a_detail_is_text_of_one_line_and_of_a_bounded_length(told, detail):
    assert failed("a", RequestError(HTTPStatus.BAD_REQUEST, told)).detail == detail


def test_headers_that_are_none_do_no_harm():
    assert failed("a", RequestError(HTTPStatus.BAD_REQUEST, "no", headers=[3])).headers == {}


def test_an_error_that_lacks_its_parts_is_a_failure_of_the_stage():
    assert failed("a", BareError()) == Failed(BROKEN, "a", "stage 'a' failed: bare")


def test_any_other_error_is_a_failure_of_the_stage():
    assert failed("a", KeyError("b")) == Failed(BROKEN, "a", "stage 'a' failed: KeyError: 'b'")
    assert failed("a", UnsupportedValueError("set"), "returned what cannot travel").detail == (
        "stage 'a' returned what cannot travel: set"
    )
    assert len(failed("a", ValueError("b" * 1000)).detail) == 300
