"""Every shape of flow at once: a diamond, maps that follow each other, a batched stage, several inputs."""

from dataclasses import dataclass

import numpy as np

from regrain import App


@dataclass
class Pair:
    left: float
    items: list[int]


app = App("maps", sample={"numbers": [1, 2, 3], "scale": 2})


@app.stage()
def widen(numbers: list[int], scale: int) -> Pair:
    return Pair(left=float(scale), items=[number * scale for number in numbers for _ in range(2)])


@app.stage()
def square(item: int) -> int:
    return item * item


@app.batched(max_size=4, max_wait=0.002, size=lambda item, plus: -item)
def shift(items: list[int], plus: list[float]) -> list[float]:
    return [item + more for item, more in zip(items, plus, strict=True)]


@app.stage()
def block(scale: int) -> np.ndarray:
    return np.full((64, 64), float(scale))


@app.stage()
def mean(block: np.ndarray) -> float:
    return float(block.mean())


@app.stage()
def join(shifted: list[float], squares: list[int], middle: float, numbers: list[int]) -> dict[str, object]:
    return {"shifted": shifted, "squares": squares, "mean": middle, "numbers": numbers}


@app.flow
def run(numbers: list[int], scale: int = 3) -> dict[str, object]:
    pair = widen(numbers, scale)
    squares = square.map(pair.items)
    return join(shift.map(squares, plus=pair.left), squares, mean(block(scale)), numbers)
