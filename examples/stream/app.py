"""An answer that comes bit by bit: a stage that yields, as a language model gives its words."""

from collections.abc import Iterator
from dataclasses import dataclass

from regrain import SLO, App

app = App("stream", slo=SLO(latency=0.2), sample={"about": "rain"})

WORDS = ("falls", "on", "every", "grain", "of", "sand")


@dataclass(frozen=True)
class Word:
    """A word, and the text up to it."""

    word: str
    text: str


@app.stage()
def prompt(about: str) -> str:
    return about.strip().capitalize()


@app.stage()
def write(start: str) -> Iterator[Word]:
    text = start
    yield Word(start, text)
    for word in WORDS:
        text = f"{text} {word}"
        yield Word(word, text)


@app.flow
def tell(about: str = "rain") -> Iterator[Word]:
    return write(prompt(about))
