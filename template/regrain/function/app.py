"""The words of a text by how often they occur, in two stages. Change them into your own."""

import re
from collections import Counter

from regrain import SLO, App

app = App(
    "words",
    slo=SLO(latency=0.3, attainment=0.95),  # 95 % of all requests within 0.3 s
    sample={"text": "the fox and the dog"},  # for warm-up, and for trying it
)


@app.stage()
def split(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return re.findall(r"\w+", text.lower())


@app.stage()
def count(words: list[str]) -> dict[str, int]:
    """Return how often each word occurs, the commonest first."""
    return dict(Counter(words).most_common())


@app.flow
def words(text: str) -> dict[str, int]:
    """Count the words of a text."""
    return count(split(text))
