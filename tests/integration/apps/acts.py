"""A stage that does what its caller asks for, good or bad, and a batched one behind it."""

import os
import signal
import time
from http import HTTPStatus
from pathlib import Path

import numpy as np

import regrain
from regrain import App, RequestError

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


def fail(_note: str) -> str:
    raise ValueError("the cat sat on it")


def leave(_note: str) -> str:
    raise SystemExit(3)


def early(_note: str) -> str:
    regrain.answer({"early": True}, status=418, headers={"X-Why": "tea", "Content-Type": "application/x-tea"})


def refuse(_note: str) -> str:
    headers = {"Retry-After": "7", "X-Why": "busy", "Content-Length": "1", "X-Split": "a\r\nX-Evil: b"}
    raise RequestError(HTTPStatus.TOO_MANY_REQUESTS, "slow down", headers=headers)


def about(_note: str) -> dict[str, object]:
    context = regrain.context()
    context.log.info("a stage was called")
    return {"call": context.call_id, "trace": context.headers.get("x-trace", ""), "left": context.time_left()}


def odd(_note: str) -> dict[str, object]:
    return {"big": 1 << 80, "bytes": b"\x00\xff", "array": np.arange(3, dtype=">i2"), "tuple": (1, None)}


ACTS = {
    "raise": fail,
    "set": lambda _: {"deep": [{1, 2}]},
    "exit": lambda _: os._exit(7),
    "leave": leave,
    "segfault": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "cancelled": until_cancelled,
    "wait": until_told,
    "pid": lambda _: os.getpid(),
    "answer": early,
    "refuse": refuse,
    "context": about,
    "nan": lambda _: [float("nan")],
    "odd": odd,
}


@app.stage(idempotent=False)
def act(do: str, note: str) -> object:
    return ACTS[do](note) if do in ACTS else do


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
