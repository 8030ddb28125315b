"""A stage that leaves work to other processes: of a pool, of its own, and programs. FRESH: it must not be forked."""

import os
import signal
import subprocess
import threading
import time
from multiprocessing import Pool, Process
from pathlib import Path

from regrain import App

if os.environ.get("FRESH"):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
app = App("forks")


def stay() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()


def until_told(note: str) -> int:
    """Tell a file when it begins, and go on once it is gone."""
    path = Path(note)
    path.touch()
    while path.exists():
        time.sleep(0.005)
    return os.getpid()


class Work:
    def __init__(self) -> None:
        self.pool = Pool(1)
        self.process = Process(target=stay)
        self.process.start()
        self.program = subprocess.Popen(["sleep", "600"])

    def __call__(self, do: str, note: str) -> list[int]:
        if do == "hang":
            Path(note).touch()
            time.sleep(600)
        worker = self.pool.apply(until_told if do == "wait" else os.getpid, (note,) if do == "wait" else ())
        return [worker, self.process.pid or 0, self.program.pid]


work = app.stage()(Work)


@app.flow
def run(do: str = "", note: str = "") -> list[int]:
    return work(do, note)
