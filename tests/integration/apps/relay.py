"""A chain of three stages with arrays between them; the last one can be held up by a file, and tells where it ran."""

import os
import time
from pathlib import Path

import numpy as np

from regrain import App

app = App("relay", sample={"count": 2})


@app.stage()
def spread(count: int) -> list[np.ndarray]:
    return [np.full(5000, float(number)) for number in range(count)]


@app.batched(max_size=4)
def turn(items: list[np.ndarray]) -> list[np.ndarray]:
    return [item[::-1] * 2 for item in items]


@app.stage()
def total(items: list[np.ndarray], gate: str) -> dict[str, object]:
    if gate:
        Path(gate, str(os.getpid())).touch()
        while Path(gate, "shut").exists():
            time.sleep(0.005)
    return {"sums": [float(item.sum()) for item in items], "front": os.getppid()}


@app.flow
def relay(count: int, gate: str = "") -> dict[str, object]:
    return total(turn.map(spread(count)), gate)
