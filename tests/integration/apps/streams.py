"""Streams that go well, and every way in which one does not."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from regrain import App, answer

INSTEAD = {"instead": {"instead": True}, "bytes": b"\0", "array": np.arange(3)}

app = App("streams", sample={"what": "count"})


@app.stage()
def plain(what: str) -> str:
    return what


class Give:
    def __call__(self, what: str, count: int, log: str) -> Iterator[dict[str, object]]:
        if what == "raise":
            raise ValueError("nothing at all")
        if what == "answer":
            answer("instead", status=418, headers={"x-tea": "yes"})
        if what in INSTEAD:
            answer(INSTEAD[what])
        if what == "empty":
            return
        try:
            for number in range(count) if count else iter(int, 1):
                yield self.item(what, number)
                if log:
                    with Path(log).open("a") as file:
                        file.write("given\n")
        finally:
            if log:
                with Path(log).open("a") as file:
                    file.write("closed\n")

    def item(self, what: str, number: int) -> dict[str, object]:
        if number == 2:
            if what == "fail":
                raise ValueError("the third is missing")
            if what == "die":
                os._exit(3)
            if what == "late":
                answer("too late")
            if what == "set":
                return {"n": {number}}
        return {
            "n": number,
            "pid": os.getpid(),
            "filler": "x" * (1 << 20 if what in ("much", "huge") else 0) * (5 if what == "huge" else 1),
        }


give = app.stage()(Give)


@app.flow
def stream(what: str, count: int = 5, log: str = "") -> Iterator[dict[str, object]]:
    return give(plain(what), count, log)
