"""The OpenFaaS handler beside this file, unedited, put in front of stages.

What a function does today becomes the first stage; what is added is written as stages from the start, and
the handler can be cut up later, when there is a reason to.
"""

import json
from collections import Counter
from dataclasses import dataclass

from handler import handle

from regrain import SLO, App, Request, Response, answer
from regrain.handler import from_handler

COMMON = 5  # words in an answer

app = App("legacy", slo=SLO(latency=0.3, attainment=0.95), sample=b"The cat and the dog and the bird.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The commonest words of a text with how often they occur, and its longest word."""

    common: dict[str, int]
    longest: str


split = app.stage(name="split", idempotent=False)(from_handler(handle))


@app.stage()
def read(response: Response) -> list[str]:
    """Return the handler's words; where it refused the request, its response is the answer."""
    if response.status != 200:
        answer(response.body.decode(), status=response.status)
    words: list[str] = json.loads(response.body)["words"]
    return words


@app.stage()
def count(words: list[str]) -> dict[str, int]:
    return dict(Counter(words).most_common(COMMON))


@app.stage()
def longest(words: list[str]) -> str:
    return max(words, key=len)


@app.stage()
def summarise(common: dict[str, int], word: str) -> Summary:
    return Summary(common=common, longest=word)


@app.flow
def describe(request: Request) -> Summary:
    words = read(split(request))
    return summarise(count(words), longest(words))
