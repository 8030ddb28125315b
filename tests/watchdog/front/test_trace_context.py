import re

import pytest

from regrain_watchdog.front.trace_context import VALID, keep_valid, make, trace_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(GOOD, id="sampled"),
        pytest.param(GOOD.replace("-01", "-00"), id="not sampled"),
        pytest.param("01" + GOOD[2:], id="of a later version"),
        pytest.param("01" + GOOD[2:] + "-more", id="of a later version with more"),
    ],
)
def test_a_traceparent_gives_its_trace_id(text):
    assert trace_id(text) == TRACE


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="none"),
        pytest.param(GOOD.upper(), id="upper case"),
        pytest.param(GOOD + "-more", id="version 00 with more"),
        pytest.param("ff" + GOOD[2:], id="forbidden version"),
        pytest.param(f"00-{'0' * 32}-00f067aa0ba902b7-01", id="trace id of zeros"),
        pytest.param(f"00-{TRACE}-{'0' * 16}-01", id="parent id of zeros"),
        pytest.param(f"{GOOD}, {GOOD}", id="sent twice"),
        pytest.param(GOOD + "\n", id="line end"),
        pytest.param(GOOD[:-1], id="too short"),
    ],
)
def test_what_is_malformed_is_dropped_with_its_tracestate(text):
    headers = {"traceparent": text, "tracestate": "a=1", "accept": "*/*"}

    keep_valid(headers)

    assert headers == {"accept": "*/*"}


def test_a_valid_one_is_left_as_it_is():
    headers = {"traceparent": GOOD, "tracestate": "a=1"}

    keep_valid(headers)

    assert headers == {"traceparent": GOOD, "tracestate": "a=1"}


def test_a_made_one_is_valid_and_new_and_asks_nobody_to_record():
    made = [make() for _ in range(3)]

    assert all(VALID.fullmatch(text) and text.endswith("-00") for text in made)
    assert len({trace_id(text) for text in made}) == 3
    assert re.fullmatch("[0-9a-f]{32}", trace_id(made[0]))
