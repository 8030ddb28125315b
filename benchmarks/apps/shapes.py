"""Parameters of every kind that a caller can get wrong, and a stage that takes whatever is right."""

from typing import Annotated

import numpy as np

import regrain

Matrix = Annotated[np.ndarray, regrain.Tensor("FP32", (2, 3))]

app = regrain.App("shapes")


@app.stage()
def add(x: Matrix, text: str, options: dict[str, float]) -> tuple[np.ndarray, str]:
    return x + np.float32(len(options)), text.upper()


@app.flow
def shapes(x: Matrix, text: str = "hi", options: dict[str, float] = {"by": 2.0}) -> object:  # noqa: B006
    made = add(x, text, options)
    return {"sum": made[0], "loud": made[1]}
