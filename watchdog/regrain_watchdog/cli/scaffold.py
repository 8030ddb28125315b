"""The files of a new app: small, without a model, and with one of everything that an app is made of."""

from __future__ import annotations

APP = '''\
"""{name}: which words of a text carry it? Change the stages into your own."""

from dataclasses import dataclass

from regrain import SLO, App

app = App(
    "{name}",
    slo=SLO(latency=0.3, attainment=0.95),  # 95 % of all requests within 0.3 s
    sample={"text": "the quick brown fox jumps over the lazy dog"},  # for warm-up and for trying it
)


@dataclass(frozen=True)
class Word:
    text: str
    weight: float


@app.stage()
def split(text: str) -> list[str]:
    return text.split()


class Weigher:
    """Made once per replica: here a model would be loaded, such as regrain.onnx("model.onnx")."""

    def __init__(self) -> None:
        self.filler = {"a", "an", "and", "in", "of", "over", "the", "to"}

    def __call__(self, words: list[str]) -> list[Word]:  # a batch: the words of several requests together
        return [Word(word, 0.0 if word.lower() in self.filler else float(len(word))) for word in words]


weigh = app.batched(max_size=32, max_wait=0.002)(Weigher)


@app.stage()
def rank(words: list[Word]) -> list[Word]:
    return sorted(words, key=lambda word: -word.weight)


@app.flow
def keywords(text: str) -> list[Word]:
    return rank(weigh.map(split(text)))  # .map: each word is an item of its own
'''

TEST = '''\
"""Stages are plain Python, and the app as a whole gives the same answers at any grain."""

import pytest
from app import Word, app, keywords, split

from regrain import testing


def test_a_text_is_split_into_words() -> None:
    assert split("to be") == ["to", "be"]


def test_the_flow_runs_as_plain_python() -> None:
    assert keywords("the fox") == [Word("fox", 3.0), Word("the", 0.0)]


@pytest.mark.parametrize("grain", ["coarse", "split | weigh + rank", "fine"])
def test_the_longest_word_comes_first_at_any_grain(grain: str) -> None:
    words = testing.run(app, "the quick brown elephant", grain=grain)

    assert words[0] == Word("elephant", 8.0)


def test_an_empty_text_has_no_words() -> None:
    assert testing.run(app, "") == []
'''

README = """\
# {name}

    pip install -r requirements.txt
    regrain run app.py                  # serves on http://127.0.0.1:8080
    regrain invoke --sample             # in another terminal
    regrain graph app.py --grain fine   # how it is cut into functions
    pytest                              # tests without a server
"""

FILES = {
    "app.py": APP,
    "test_app.py": TEST,
    "requirements.txt": "regrain\npytest\n",
    "README.md": README,
}
"""Text by path; {name} stands for the app's name."""
