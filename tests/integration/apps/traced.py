"""Two stages that tell which traceparent they were given; the second one fails on demand."""

import os
import signal

from regrain import App, context

app = App("traced", sample={"text": "sample"})


@app.stage()
def first(text: str) -> dict[str, str]:
    return {"text": text, "first": context().headers.get("traceparent", "")}


@app.stage()
def second(told: dict[str, str]) -> dict[str, str]:
    if told["text"] == "fail":
        raise ValueError("as it was asked to")
    if told["text"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {**told, "second": context().headers.get("traceparent", "")}


@app.flow
def traced(text: str) -> dict[str, str]:
    return second(first(text))
