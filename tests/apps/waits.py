"""Waits until its caller has gone, and says so in a file."""

import pathlib
import time

import regrain
from regrain import App

app = App("waits")
LONGEST = 10.0


@app.stage()
def wait(path: str) -> str:
    began = time.monotonic()
    pathlib.Path(path).write_text("waiting")
    while not regrain.context().cancelled:
        if time.monotonic() - began > LONGEST:
            return "nobody left"
    pathlib.Path(path).write_text("cancelled")
    return "cancelled"


@app.flow
def run(path: str) -> str:
    return wait(path)
