"""The timeline shows every lease once, at its time, in its size."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.wire.lease import Ask, Granted, Hold, Share
from regrain_watchdog.gpu.arbiter import Arbiter
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.timeline import OVERUSE, places, svg, trace

SMS = 20


def hold(lease: int, name: str, sms: int, *, start: float, end: float, overuse: float = 0.0) -> Hold:
    return Hold(
        client=lease, name=name, pid=100 + lease, lease=lease, sms=sms, start=start, end=end, overuse=overuse
    )


HOLDS = [
    hold(1, "a<b>", 10, start=5.0, end=6.0),
    hold(2, "c", 10, start=5.5, end=7.5, overuse=0.5),
    hold(3, "a<b>", 5, start=6.0, end=7.0),
]


@given(
    st.lists(
        st.tuples(st.integers(1, SMS), st.floats(0.1, 2.0), st.floats(0.0, 1.0)), min_size=1, max_size=12
    )
)
def test_no_sm_is_drawn_for_two_leases_at_once(asks):
    arbiter = Arbiter(Device(sms=SMS, memory=0), epoch=1, limits=Limits(longest=9.0))
    ends: list[tuple[float, int, int]] = []
    now = 0.0
    for sms, seconds, pause in asks:
        now += pause
        client = arbiter.register("w", Share(), pid=1, now=now)
        arbiter.ask(client, Ask(1, sms / SMS, seconds), now)
        grants = [told for told in arbiter.schedule(now) if isinstance(told.frame, Granted)]
        ends += [(now + seconds, told.client, told.frame.lease) for told in grants]
        for end, whose, lease in [each for each in ends if each[0] <= now]:
            ends.remove((end, whose, lease))
            arbiter.release(whose, 1, lease, now)
    history = arbiter.recall(0, now + 10.0)
    holds = history.ended + history.running

    drawn = list(places(holds, SMS))

    taken = [(one, set(range(first, first + count))) for one, runs in drawn for first, count in runs]
    for place, (one, sms) in enumerate(taken):
        for other, theirs in taken[place + 1 :]:
            overlap = max(one.start, other.start) < min(one.end, other.end)
            assert one is other or not overlap or not sms & theirs
    assert [sum(count for _, count in runs) for _, runs in drawn] == [one.sms for one, _ in drawn]


def test_the_picture_is_sound_and_tells_each_functions_part():
    drawing = svg(HOLDS, SMS, title="v100 & co")

    root = ET.fromstring(drawing)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "v100 & co" in texts
    assert "20 SMs, 2.5 s" in texts
    assert "a<b>: 15 SM-seconds, 30.0% of the device" in texts
    assert "c: 20 SM-seconds, 40.0% of the device, 500 ms over time (red)" in texts
    assert drawing.count(f'fill="{OVERUSE}"') == 1


@pytest.mark.parametrize("holds", [[], [hold(1, "a", 5, start=1.0, end=1.0)]], ids=["none", "of no length"])
def test_there_is_a_picture_of_hardly_anything(holds):
    ET.fromstring(svg(holds, SMS))
    assert "traceEvents" in json.loads(trace(holds))


def test_the_trace_has_every_lease_and_what_is_in_use():
    events = json.loads(trace(HOLDS))["traceEvents"]

    spans = [event for event in events if event["ph"] == "X"]
    assert [(span["pid"], span["tid"], span["ts"], span["dur"]) for span in spans] == [
        (101, 1, 5e6, 1e6),
        (102, 2, 5.5e6, 2e6),
        (103, 3, 6e6, 1e6),
    ]
    assert [event["args"]["in use"] for event in events if event["ph"] == "C"] == [10, 20, 10, 15, 10, 0]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {"a<b>", "c"}
