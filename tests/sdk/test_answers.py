"""How a stage ends a request, and how its failure becomes a value."""

from http import HTTPStatus

import pytest

from regrain.answers import Answer, Failure, answer
from regrain.errors import SpecError, UnsupportedValueError
from regrain.wire import frames


def test_an_answer_ends_the_stage_with_its_value_status_and_headers():
    with pytest.raises(Answer) as caught:
        answer({"why": "empty page"}, status=204, headers={"X-Empty": "1"})

    assert (caught.value.value, caught.value.status, caught.value.headers) == (
        {"why": "empty page"},
        204,
        {"X-Empty": "1"},
    )


def test_an_answer_is_200_without_headers_unless_it_says_otherwise():
    with pytest.raises(Answer) as caught:
        answer(None)

    assert (caught.value.status, caught.value.headers) == (200, {})


@pytest.mark.parametrize("status", [0, 100, 199, 600, True, 200.0, "200", None])
def test_a_status_that_ends_no_request_is_refused(status):
    with pytest.raises(SpecError, match=r"^status of an answer must be in 200 to 599, was "):
        answer(None, status=status)


@pytest.mark.parametrize("headers", [{"X": 1}, {1: "x"}, {"X": b"x"}, {"X": "half \ud83d"}, {"X\ud83d": ""}])
def test_headers_that_are_no_text_are_refused(headers):
    with pytest.raises(SpecError, match=r"^headers of an answer must be text, was "):
        answer(None, headers=headers)


class Name(str):
    pass


def test_headers_and_status_are_of_the_types_that_a_frame_carries():
    with pytest.raises(Answer) as caught:
        answer(None, status=HTTPStatus.ACCEPTED, headers={Name("X-A"): Name("b")})

    told = caught.value
    assert frames.encode(frames.Done(1, [frames.Answered(told.status, told.headers, frames.Value(b""))], []))
    assert (told.status, told.headers) == (202, {"X-A": "b"})


class SpeechlessError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class WordlessError(Exception):
    def __str__(self):
        return 7  # noqa: PLE0307  # as is the point


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(ValueError("bad\n  crop"), "ValueError: bad crop", id="on one line, with its type"),
        pytest.param(KeyError(), "KeyError", id="without a message"),
        pytest.param(SpeechlessError(), "SpeechlessError", id="whose message cannot be told"),
        pytest.param(WordlessError(), "WordlessError", id="whose message is none"),
        pytest.param(ValueError("half \ud83d"), "ValueError: half ?", id="with half a character"),
        pytest.param(UnsupportedValueError("set at .boxes"), "set at .boxes", id="one of ours needs no type"),
    ],
)
def test_a_failure_says_in_one_line_what_was_raised(error, message):
    assert Failure.of("crop", error) == Failure(stage="crop", message=message)
