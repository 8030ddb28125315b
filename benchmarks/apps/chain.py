"""A chain of stages that hand on a float32 array: split against fused, the difference is what hops cost.

The body says how many numbers the array has. The first stage makes each array once, so that a request brings
and takes next to nothing over HTTP.
"""

import functools

import numpy as np

from regrain import App

app = App("chain")


@functools.cache
def ones(count: int) -> np.ndarray:
    return np.ones(count, np.float32)


@app.stage()
def make(body: bytes) -> np.ndarray:
    return ones(int(body))


@app.stage()
def second(values: np.ndarray) -> np.ndarray:
    return values


@app.stage()
def third(values: np.ndarray) -> np.ndarray:
    return values


@app.stage()
def fourth(values: np.ndarray) -> np.ndarray:
    return values


@app.stage()
def count(values: np.ndarray) -> int:
    return int(values.size)


@app.flow
def chain(body: bytes) -> int:
    return count(fourth(third(second(make(body)))))
