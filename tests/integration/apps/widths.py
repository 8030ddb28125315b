"""What OCR looks like to the machinery: as many items as a request says, maps, batches, a join."""

import numpy as np

from regrain import App

app = App("widths", sample={"seed": 1, "count": 3})


@app.stage()
def cut(seed: int, count: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, 255, (random.integers(1, 90), 7), np.uint8) for _ in range(count)]


@app.batched(max_size=8, max_wait=0.001)
def turn(items: list[np.ndarray]) -> list[np.ndarray]:
    return [item[::-1].T for item in items]


@app.batched(max_size=16, max_wait=0.002, size="bytes")
def read(items: list[np.ndarray]) -> list[dict[str, object]]:
    assert len(items) <= 16
    return [{"sum": int(item.sum()), "shape": list(item.shape), "first": int(item.flat[0])} for item in items]


@app.stage()
def total(items: list[np.ndarray]) -> int:
    return int(sum(int(item.sum()) for item in items))


@app.stage()
def join(lines: list[dict[str, object]], total: int, seed: int) -> dict[str, object]:
    return {"seed": seed, "total": total, "lines": lines}


@app.flow
def page(seed: int, count: int) -> dict[str, object]:
    pieces = cut(seed, count)
    return join(read.map(turn.map(pieces)), total(pieces), seed)
