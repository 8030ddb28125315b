"""An app of one stage that only holds a GPU for as long as its scenario says; its name is in HELD_APP."""

from __future__ import annotations

import os

from regrain import GPU, App

app = App(os.environ.get("HELD_APP", "held"), sample=b"held")


@app.stage(gpu=GPU(memory="1Gi"))
def work(body: bytes) -> int:
    return len(body)


@app.flow
def run(body: bytes) -> int:
    return work(body)
