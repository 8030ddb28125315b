"""An app whose parameters and answers are tensors of several kinds; what a parameter holds says what it does."""

import os
import signal
import time
from typing import Annotated

import numpy as np

import regrain

Matrix = Annotated[np.ndarray, regrain.Tensor("FP32", (2, 3))]

app = regrain.App("tensors")


@app.stage(idempotent=False)
def act(x: Matrix, text: str, options: dict[str, float]) -> tuple[np.ndarray, str]:
    match text:
        case "raise":
            raise ValueError("told to raise")
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "refuse":
            regrain.answer("told to refuse", status=403)
        case "wait":
            end = time.monotonic() + 60
            while time.monotonic() < end and not regrain.context().cancelled:
                time.sleep(0.005)
        case "headers":
            return x, regrain.context().headers.get("x-from", "")
    return x * np.float32(options.get("by", 2.0)), text.upper()


@app.flow
def tensors(x: Matrix, text: str = "hi", options: dict[str, float] = {"by": 2.0}) -> object:  # noqa: B006
    made = act(x, text, options)
    return {"scaled": made[0], "loud": made[1]}
