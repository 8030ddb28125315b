"""Apps whose stages only take time, so that their capacity is known and the machine's noise is not in it.

`single` takes 5 ms; `batched` takes 10 ms and 1 ms more for each unit of a batch of up to 8; `chain` has three stages
of 2, 4 and 6 ms; `mortal` takes 5 ms and ends its process where the body says so; `slow` takes 50 ms.
"""

from __future__ import annotations

import os
import time

from regrain import SLO, App

single = App("single", slo=SLO(latency=0.1))
batched = App("batched", slo=SLO(latency=0.15))
chain = App("chain", slo=SLO(latency=0.15))
mortal = App("mortal", sample=b"fine")
slow = App("slow")


@single.stage()
def five(body: bytes) -> int:
    time.sleep(0.005)
    return len(body)


@single.flow
def run_single(body: bytes) -> int:
    return five(body)


@batched.batched(max_size=8, max_wait=0.002)
def together(bodies: list[bytes]) -> list[int]:
    time.sleep(0.010 + 0.001 * len(bodies))
    return [len(body) for body in bodies]


@batched.flow
def run_batched(body: bytes) -> int:
    return together(body)


@chain.stage()
def first(body: bytes) -> bytes:
    time.sleep(0.002)
    return body


@chain.stage()
def second(body: bytes) -> bytes:
    time.sleep(0.004)
    return body


@chain.stage()
def third(body: bytes) -> int:
    time.sleep(0.006)
    return len(body)


@chain.flow
def run_chain(body: bytes) -> int:
    return third(second(first(body)))


@mortal.stage()
def risky(body: bytes) -> int:
    if body == b"poison":
        os._exit(1)
    time.sleep(0.005)
    return len(body)


@mortal.flow
def run_mortal(body: bytes) -> int:
    return risky(body)


@slow.stage()
def fifty(body: bytes) -> int:
    time.sleep(0.05)
    return len(body)


@slow.flow
def run_slow(body: bytes) -> int:
    return fifty(body)
