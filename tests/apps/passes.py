"""A chain whose middle hands on what it was given."""

import numpy as np

from regrain import App

app = App("passes")


@app.stage()
def make(size: int) -> np.ndarray:
    return np.arange(size, dtype=np.float32)


@app.stage()
def keep(made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return made, made[: len(made) // 2]


@app.stage()
def add(kept: tuple[np.ndarray, np.ndarray]) -> float:
    whole, half = kept
    return float(whole.sum() - half.sum())


@app.flow
def run(size: int) -> float:
    return add(keep(make(size)))
