"""What a stage's body raises ends its own call, whatever it is."""

import asyncio

import pytest

from regrain import App, testing
from regrain.errors import RequestError


class PanicError(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("batched", [False, True], ids=["alone", "batched"])
@pytest.mark.parametrize("error", [asyncio.CancelledError(), PanicError("index out of bounds")], ids=repr)
def test_what_is_no_exception_ends_its_own_call_alone(batched, error):
    app = App("panic")

    def check(item):
        if item == 2:
            raise error
        return item

    if batched:

        @app.batched(max_size=4)
        def stage(items: list[int]) -> list[int]:
            return [check(item) for item in items]

    else:

        @app.stage()
        def stage(item: int) -> int:
            return check(item)

    @app.flow
    def flow(item: int) -> int:
        return stage(item)

    with testing.Session(app) as session:
        first, failed, last = session.together([{"item": 1}, {"item": 2}, {"item": 3}])

    assert (first.value, last.value) == (1, 3)
    assert isinstance(failed, RequestError)
    assert failed.status == 500
    assert type(error).__name__ in failed.detail


def test_a_body_that_exits_ends_the_process():
    app = App("exit")

    @app.stage()
    def stage(item: int) -> int:
        raise SystemExit(item)

    @app.flow
    def flow(item: int) -> int:
        return stage(item)

    with pytest.raises(SystemExit):
        testing.run(app, 3)
