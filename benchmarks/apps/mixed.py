"""Three stages that take text and numbers: what benchmarks/soak.py sends its many kinds of requests to."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt

from regrain import App, Tensor

Numbers = Annotated[npt.NDArray[np.float32], Tensor("FP32", (-1,))]


@dataclass(frozen=True)
class Told:
    """What was sent, in short."""

    hello: str
    count: int
    sum: float


app = App("mixed", sample={"values": [1.0, 2.0], "name": "world"})


@app.stage()
def scale(values: Numbers) -> Numbers:
    return values * np.float32(2)


@app.batched(max_size=8)
def shift(many: list[Numbers]) -> list[Numbers]:
    return [values + np.float32(1) for values in many]


@app.stage()
def tell(name: str, values: Numbers) -> Told:
    return Told(name, int(values.size), float(values.sum()))


@app.flow
def mix(values: Numbers, name: str = "world") -> Told:
    return tell(name, shift(scale(values)))
