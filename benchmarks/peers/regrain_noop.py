"""The no-op chain on Regrain."""

import numpy as np

from benchmarks.peers import workloads
from regrain import App

app = App("noop")


@app.stage()
def receive(body: bytes) -> np.ndarray:
    return workloads.receive(body)


@app.stage()
def hand_on(tensor: np.ndarray) -> np.ndarray:
    return workloads.hand_on(tensor)


@app.stage()
def count(tensor: np.ndarray) -> dict[str, int]:
    return workloads.count(tensor)


@app.flow
def noop(body: bytes) -> dict[str, int]:
    return count(hand_on(receive(body)))
