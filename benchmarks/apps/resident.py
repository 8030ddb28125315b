"""Stages that only take time and add which process ran them: the answer tells which plan it was made under."""

import os
import time

from regrain import App

app = App("resident", sample={"seen": []})


@app.stage()
def one(seen: list[int]) -> list[int]:
    time.sleep(0.002)
    return [*seen, os.getpid()]


@app.stage()
def two(seen: list[int]) -> list[int]:
    time.sleep(0.003)
    return [*seen, os.getpid()]


@app.stage()
def three(seen: list[int]) -> list[int]:
    time.sleep(0.004)
    return [*seen, os.getpid()]


@app.flow
def flow(seen: list[int]) -> list[int]:
    return three(two(one(seen)))
