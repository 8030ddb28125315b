"""An app of two stages that do nothing but hand bytes over: what `regrain profile` measures a hop with."""

from __future__ import annotations

import numpy as np

from regrain import App

app = App("probe", sample={"nbytes": 1})


@app.stage()
def give(nbytes: int) -> object:
    """Return so many bytes."""
    return np.zeros(nbytes, np.uint8)


@app.stage()
def take(data: object) -> int:
    """Return how many bytes came."""
    return len(data) if isinstance(data, np.ndarray) else 0


@app.flow
def probe(nbytes: int) -> int:
    """Hand bytes over."""
    return take(give(nbytes))
