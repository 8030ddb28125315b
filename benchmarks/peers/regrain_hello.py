"""hello on Regrain."""

from benchmarks.peers import workloads
from regrain import App

app = App("hello")


@app.stage()
def answer(body: bytes) -> dict[str, int]:
    return workloads.hello(body)


@app.flow
def hello(body: bytes) -> dict[str, int]:
    return answer(body)
