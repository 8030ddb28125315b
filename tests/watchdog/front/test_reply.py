from http import HTTPStatus

import pytest

from regrain.errors import RequestError
from regrain.graph import Ref
from regrain.headers import sendable
from regrain.wire.frames import Fault
from regrain_watchdog.front.answer import FRAMING
from regrain_watchdog.front.reply import RETRY_AFTER, Copies, failure, follow, listed
from regrain_watchdog.front.segments import FRONT, Pool


@pytest.mark.parametrize(
    ("told", "status"), [(404, HTTPStatus.NOT_FOUND), (503, HTTPStatus.SERVICE_UNAVAILABLE), (500, 500)]
)
def test_a_fault_keeps_its_status_stage_and_sentence(told, status):
    error = failure(Fault(told, "a", "no"))

    assert (error.status, error.stage, error.detail) == (status, "a", "no")
    assert ("Retry-After" in error.headers) is (told == 503)


@pytest.mark.parametrize("told", [-1, 0, 200, 302, 499, 600, 99_999])
def test_a_fault_with_a_status_that_is_no_errors_is_a_500(told):
    assert failure(Fault(told, "a", "no")).status is HTTPStatus.INTERNAL_SERVER_ERROR


def test_a_fault_gives_its_headers_as_far_as_a_response_can_have_them():
    told = {"retry-after": "7", "x-a": "b\r\nset-cookie: c", "x-\r\n": "d", "connection": "close"}

    assert failure(Fault(429, "a", "no", told)).headers == {"retry-after": "7"}
    assert failure(Fault(503, "a", "no", told)).headers == {"retry-after": "7"}
    assert failure(Fault(503, "a", "no", {"x-a": "b"})).headers == {"x-a": "b", "Retry-After": "1"}
    assert RETRY_AFTER == {"Retry-After": "1"}


def test_headers_that_the_front_writes_are_no_faults():
    assert sendable(dict.fromkeys(FRAMING | {"content-type", "server-timing"}, "1")) == {}


def test_a_copy_outlives_what_it_was_read_from():
    pool = Pool(1 << 20)
    extent = pool.grant(FRONT, 4)
    pool.mappings.writable_view(extent)[:4] = b"good"

    copy = Copies(pool).view(extent.segment, extent.offset, 4)
    pool.mappings.writable_view(extent)[:4] = b"evil"

    assert bytes(copy) == b"good"
    pool.close()


@pytest.mark.parametrize(("value", "items"), [([1, 2], [1, 2]), ((1,), [1]), ([], [])])
def test_lists_and_tuples_can_be_walked(value, items):
    assert listed("xs", value) == items


@pytest.mark.parametrize("value", [5, "text", {"a": 1}, None, b"ab"])
def test_what_is_no_list_is_the_callers_fault(value):
    with pytest.raises(RequestError, match=f"parameter 'xs' is a {type(value).__name__}") as caught:
        listed("xs", value)

    assert caught.value.status is HTTPStatus.BAD_REQUEST


def test_the_answer_may_take_a_part_of_a_parameter():
    assert follow(Ref("$x", ("a", 1)), {"a": [5, 6]}) == 6
    assert follow(Ref("$x"), 5) == 5


@pytest.mark.parametrize("value", [{}, {"a": []}, {"a": 5}, 5, None])
def test_a_parameter_without_that_part_is_the_callers_fault(value):
    with pytest.raises(RequestError, match=r"parameter 'x' has no a\.1") as caught:
        follow(Ref("$x", ("a", 1)), value)

    assert caught.value.status is HTTPStatus.BAD_REQUEST
