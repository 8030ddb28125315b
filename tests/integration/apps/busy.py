"""Two stages that take their time, and lists of which each item does."""

import time

from regrain import SLO, App

app = App("busy", slo=SLO(latency=0.15, attainment=0.9), sample={"items": [1, 2]})


@app.stage()
def spread(items: list[int]) -> list[int]:
    time.sleep(0.005)
    return items


@app.stage()
def double(item: int) -> int:
    time.sleep(0.01)
    return 2 * item


@app.stage()
def add(items: list[int]) -> int:
    return sum(items)


@app.flow
def flow(items: list[int]) -> int:
    return add(double.map(spread(items)))
