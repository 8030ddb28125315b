"""Two batched stages, the second of which tells how many units it got at once."""

from regrain import App

app = App("gathers", sample={"number": 1})


@app.batched(max_size=4, max_wait=30.0)
def first(numbers: list[int]) -> list[int]:
    return numbers


@app.batched(max_size=4)
def second(numbers: list[int]) -> list[int]:
    return [len(numbers)] * len(numbers)


@app.flow
def gathers(number: int) -> int:
    return second(first(number))
