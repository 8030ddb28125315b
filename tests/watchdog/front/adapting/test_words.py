import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.plan import GpuShare, Group, Plan
from regrain_watchdog.front.adapting.words import (
    HEADER,
    LONGEST,
    Pieces,
    Report,
    Word,
    WordError,
    decode_report,
    decode_word,
    encode,
)
from regrain_watchdog.policy.refine import Seen
from regrain_watchdog.policy.resident import Living

PLAN = Plan((Group(stages=("a", "b"), gpu=GpuShare(fraction=0.5, memory=1 << 30)),))
REPORT = Report(
    now=1.0,
    at=b"12345678",
    size=b"12345678",
    first=3,
    widened=b"",
    hits=1,
    misses=2,
    plan=PLAN,
    living=(Living(1, "a+b", frozenset({"a", "b"})),),
    is_changing=False,
    is_held=True,
    seen=(Seen(stage="a", share=0.5, units=3, calls=2, seconds=0.1),),
)
WORD = Word(decision=b"{}", plan=PLAN, placement={"a+b": (0, 1)}, predicted=0.9, sentence="so", warning="hm")


@given(st.lists(st.integers(1, 40), max_size=20))
def test_messages_come_out_as_they_went_in_however_the_stream_is_cut(cuts):
    stream, pieces, found = encode(REPORT) + encode(REPORT), Pieces(), []
    for length in [*cuts, len(stream)]:
        found += pieces.feed(stream[:length])
        stream = stream[length:]

    assert [decode_report(one) for one in found] == [REPORT, REPORT]


def test_a_word_comes_out_as_it_went_in():
    (body,) = Pieces().feed(encode(WORD))

    assert decode_word(body) == WORD


def test_what_is_no_message_is_refused():
    with pytest.raises(WordError, match="allowed"):
        Pieces().feed(HEADER.pack(LONGEST + 1))
    with pytest.raises(WordError):
        decode_word(b"\xc1")
    with pytest.raises(WordError):
        decode_report(b"\x80")
    for decode in (decode_word, decode_report):
        with pytest.raises(WordError):
            decode(b"\x91\xa1\xff")
