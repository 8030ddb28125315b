"""Arrays with a declared type, JSON with a declared shape."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from regrain import App, Tensor

app = App("tensor", sample={"pixels": [[1, 2, 3]]})


@dataclass(frozen=True)
class Options:
    """How to scale."""

    factor: float
    names: list[str]


@app.stage()
def scale(pixels: np.ndarray, options: Options | None) -> np.ndarray:
    return pixels * np.float32(options.factor if options else 1)


@app.flow
def scaled(
    pixels: Annotated[np.ndarray, Tensor("FP32", (-1, 3))], options: Options | None = None
) -> Annotated[np.ndarray, Tensor("FP32", (-1, 3))]:
    return scale(pixels, options)
