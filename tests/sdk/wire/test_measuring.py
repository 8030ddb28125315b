"""The lines between `regrain profile` and the process that measures."""

import pytest

from regrain.wire import measuring
from regrain.wire.frames import Entitle
from regrain.wire.lease import Share

ENTITLED = Entitle("/run/gpu0.sock", "ocr/read", "emulated", 0, 0.5, Share(memory=1 << 30), "v100")
ASKS = [
    measuring.Seat(ENTITLED),
    measuring.Load("read", 2.0),
    measuring.Walk((measuring.Request({"image": b"\x00\xff"}),)),
    measuring.Time("read", 0, 8, 1.5, 0.02),
    measuring.Chain(0, 1.5, 0.02),
]
ANSWERS = [
    measuring.Ready(12, 0.01, 1 << 20),
    measuring.Seated(0.001, 1 << 30),
    measuring.Loaded(0.1, 1 << 20, 0),
    measuring.Walked({"read": (1, 4)}, {"read": 10.5}, {"read": 0}),
    measuring.Timed(0.01, 0.1, 20, 0.001, 1 << 30),
    measuring.Refused("no stage is called 'sing'"),
]


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: type(ask).__name__)
def test_an_ask_is_one_line_and_comes_back(ask):
    line = measuring.encode(ask)

    assert line.count(b"\n") == 1
    assert measuring.ask(line) == ask


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_an_answer_is_one_line_and_comes_back(answer):
    line = measuring.encode(answer)

    assert line.count(b"\n") == 1
    assert measuring.answer(line) == answer


@pytest.mark.parametrize("line", [b"", b"hello\n", b'{"type":"sing"}', b'{"type":"load"}', b"\xff"])
def test_anything_else_is_no_frame(line):
    with pytest.raises(measuring.MeasuringError, match="not a frame"):
        measuring.ask(line)
    with pytest.raises(measuring.MeasuringError, match="not a frame"):
        measuring.answer(line)
