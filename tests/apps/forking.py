"""Stages that leave some of their work to other processes."""

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool, Process

from regrain import App

app = App("forking")


@app.stage()
def add(item: int) -> int:
    with Pool(2) as pool:
        return sum(pool.map(abs, range(item)))


class Workers:
    """Returns the processes that it started."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1)
        self.process = Process(target=signal.pause, daemon=True)
        self.process.start()

    def __call__(self, item: int) -> list[int]:
        return [self.pool.submit(os.getpid).result(), self.process.pid or 0]


workers = app.stage()(Workers)


@app.flow
def run(item: int) -> dict[str, object]:
    total = add(item)
    return {"total": total, "workers": workers(total)}
