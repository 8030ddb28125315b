"""Two apps in one module."""

from regrain import App

first = App("first")
second = App("second")


@first.stage()
def one(number: int) -> int:
    return number


@second.stage()
def two(number: int) -> int:
    return number


@first.flow
def run_first(number: int) -> int:
    return one(number)


@second.flow
def run_second(number: int) -> int:
    return two(number)
