import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import RequestError
from regrain_watchdog.front.call import NORMAL, Call
from regrain_watchdog.front.urgency import LONGEST, admit

ARRIVED = 1000.0


def admitted(latency: float = 0.0, **headers: str) -> Call:
    call = Call(id="test", values={}, headers=b"", arrived=ARRIVED)
    admit(call, {f"x-{name.replace('_', '-')}": text for name, text in headers.items()}, latency)
    return call


def test_without_headers_the_deadline_is_the_objectives_and_soft():
    call = admitted(0.5)

    assert (call.deadline, call.firm, call.priority) == (ARRIVED + 0.5, False, NORMAL)


def test_without_headers_and_objective_there_is_no_deadline():
    call = admitted()

    assert (call.deadline, call.firm) == (0.0, False)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"timeout": "500ms"}, 0.5),
        ({"timeout": "1m30s"}, 90.0),
        ({"regrain_deadline_ms": "250"}, 0.25),
        ({"regrain_deadline_ms": "0"}, 0.0),
        ({"regrain_deadline_ms": "0.5"}, 0.0005),
        ({"timeout": "1s", "regrain_deadline_ms": "2000"}, 1.0),
        ({"timeout": "3s", "regrain_deadline_ms": "2000"}, 2.0),
        ({"timeout": "9999999h"}, LONGEST),
    ],
)
def test_a_callers_deadline_is_firm(headers, seconds):
    call = admitted(**headers)

    assert (call.deadline, call.firm) == (pytest.approx(ARRIVED + seconds), True)


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_caller_may_only_lower_the_deadline(latency, wanted):
    call = admitted(latency / 1e3, regrain_deadline_ms=str(wanted))

    assert call.deadline == pytest.approx(ARRIVED + min(latency, wanted) / 1e3)
    assert call.firm is (wanted < latency)


@pytest.mark.parametrize("text", list("0123456789"))
def test_a_priority_is_a_digit(text):
    assert admitted(regrain_priority=text).priority == int(text)


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"timeout": "soon"}, "X-Timeout"),
        ({"timeout": "0s"}, "X-Timeout"),
        ({"timeout": "-1s"}, "X-Timeout"),
        ({"timeout": ""}, "X-Timeout"),
        ({"timeout": "1s, 2s"}, "X-Timeout"),
        ({"regrain_deadline_ms": "-1"}, "X-Regrain-Deadline-Ms"),
        ({"regrain_deadline_ms": "1e3"}, "X-Regrain-Deadline-Ms"),
        ({"regrain_deadline_ms": "nan"}, "X-Regrain-Deadline-Ms"),
        ({"regrain_deadline_ms": "9" * 100_000}, "X-Regrain-Deadline-Ms"),
        ({"regrain_priority": "10"}, "X-Regrain-Priority"),
        ({"regrain_priority": "-1"}, "X-Regrain-Priority"),
        ({"regrain_priority": "high"}, "X-Regrain-Priority"),
        ({"regrain_priority": ""}, "X-Regrain-Priority"),
        ({"regrain_priority": "٣"}, "X-Regrain-Priority"),
    ],
)
def test_a_header_that_says_neither_is_refused_by_name(headers, named):
    with pytest.raises(RequestError, match=f"{named} must be") as caught:
        admitted(**headers)

    assert caught.value.status == 400
    assert len(caught.value.detail) < 250


@given(st.text(max_size=40))
def test_no_text_is_taken_for_something_else(text):
    for name in ("timeout", "regrain_deadline_ms", "regrain_priority"):
        call = Call(id="test", values={}, headers=b"", arrived=ARRIVED)

        with contextlib.suppress(RequestError):
            admit(call, {f"x-{name.replace('_', '-')}": text}, 0.0)

        assert 0.0 <= (call.deadline or ARRIVED) - ARRIVED <= LONGEST
        assert 0 <= call.priority <= 9
