"""A stage that goes wrong in whatever way the request says, and one after it."""

import ctypes
import os
import time

import numpy as np

import regrain
from regrain import App

app = App("faults")


@app.stage(timeout=float(os.environ.get("FAULTS_TIMEOUT", "60")))
def act(what: str) -> object:  # noqa: C901 - a list of cases
    match what:
        case "raise":
            raise ValueError("no such luck")
        case "exit":
            os._exit(3)
        case "crash":
            ctypes.string_at(0)
        case "leave":
            raise SystemExit(4)
        case "hang":
            time.sleep(60)
        case "set":
            return {1, 2}
        case "answer":
            regrain.answer({"early": True}, status=203, headers={"x-why": "asked"})
        case "set answer":
            regrain.answer({1, 2})
        case "large":
            return np.zeros(1 << 18)
        case "huge":
            return np.zeros(1 << 23)
    return what


@app.batched(max_size=4)
def check(values: list[object]) -> list[object]:
    if any(type(value) is str and value == "short" for value in values):
        return values[1:]
    return values


@app.stage()
def tell(value: object) -> str:
    return f"{value.nbytes} bytes" if isinstance(value, np.ndarray) else str(value)


@app.flow
def run(what: str) -> str:
    return tell(check(act(what)))
