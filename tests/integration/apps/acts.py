"""A stage that does what its caller asks for, good or bad, and a batched one behind it."""

import os
import signal
import time
from pathlib import Path

import numpy as np

import regrain
from regrain import App

app = App("acts")


def until_cancelled(note: str) -> str:
    """Tell a file when it begins, and when the caller has gone."""
    Path(note).write_text("begun")
    context = regrain.context()
    while not context.cancelled:
        time.sleep(0.005)
    Path(note).write_text("cancelled")
    return "nobody reads this"


def until_told(note: str) -> str:
    """Tell a file when it begins, and go on once the file is gone."""
    path = Path(note)
    path.with_suffix(f".{regrain.context().call_id}").write_text("begun")
    while path.exists():
        time.sleep(0.005)
    return "done"


@app.stage(idempotent=False)
def act(do: str, note: str) -> object:
    match do:
        case "raise":
            raise ValueError("the cat sat on it")
        case "set":
            return {"deep": [{1, 2}]}
        case "exit":
            os._exit(7)
        case "leave":
            raise SystemExit(3)
        case "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "cancelled":
            return until_cancelled(note)
        case "wait":
            return until_told(note)
        case "pid":
            return os.getpid()
        case "answer":
            regrain.answer(
                {"early": True}, status=418, headers={"X-Why": "tea", "Content-Type": "application/x-tea"}
            )
        case "context":
            context = regrain.context()
            return {
                "call": context.call_id,
                "trace": context.headers.get("x-trace", ""),
                "left": context.time_left(),
            }
        case "nan":
            return float("nan")
        case "odd":
            return {
                "big": 1 << 80,
                "bytes": b"\x00\xff",
                "array": np.arange(3, dtype=">i2"),
                "tuple": (1, None),
            }
    return do


@app.batched(max_size=4)
def check(items: list[object]) -> list[object]:
    if "short" in items:
        return []
    if "none" in items:
        return None
    return items


@app.flow
def run(do: str, note: str = "") -> object:
    return check(act(do, note))
