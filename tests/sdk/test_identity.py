"""What Python answers about a value without asking it is found in the flow's source."""

import functools
import inspect

import pytest

from regrain.app import App
from regrain.errors import TraceError
from regrain.identity import check_identity
from regrain.trace import trace

app = App("demo")


@app.stage()
def decode(image: bytes) -> bytes:
    return image


@app.stage()
def pair(image: bytes) -> bytes:
    return image


@app.stage()
def bare(value):
    return value


def decide_by_is(image: bytes, mode: str | None = None):
    pixels = decode(image)
    if mode is None:  # here
        return pair(pixels)
    return bare(pixels)


def decide_by_match(image: bytes):
    pixels = decode(image)
    match pixels:  # here
        case [_, _]:
            return pair(pixels)
        case _:
            return bare(pixels)


REFUSED = [
    (
        decide_by_is,
        "mode may be known only when a request comes, but `is` asks for it here; do it in a stage",
    ),
    (decide_by_match, "pixels may be known only when a request comes, but `match` asks"),
]


@pytest.mark.parametrize(("flow", "says"), [pytest.param(*case, id=case[0].__name__) for case in REFUSED])
def test_what_cannot_be_traced_fails_with_its_file_its_line_and_what_is_allowed(flow, says):
    lines, first = inspect.getsourcelines(flow)
    (line,) = [first + index for index, text in enumerate(lines) if "# here" in text]

    with pytest.raises(TraceError, match=says) as caught:
        trace(flow, app.stages)

    assert str(caught.value).startswith(f"{__file__}:{line}: ")
    assert "\n" not in str(caught.value)


def logged(flow):
    """Decorate a flow as a library does, with a question about what is the wrapper's own."""

    @functools.wraps(flow)
    def wrapper(*args, **kwargs):
        log = None
        return flow(*args, **kwargs) if log is None else None

    return wrapper


@pytest.mark.parametrize(("flow", "says"), [pytest.param(*case, id=case[0].__name__) for case in REFUSED])
def test_a_flow_within_a_decorator_is_looked_into_and_not_the_decorator(flow, says):
    with pytest.raises(TraceError, match=says):
        trace(logged(flow), app.stages)


def test_a_decorator_may_ask_about_what_is_its_own():
    def flow(image: bytes):
        return decode(image)

    assert trace(logged(flow), {"decode": decode}).stages == ("decode",)


MODE = None


def test_what_is_settled_before_the_flow_may_be_compared():
    def flow(image: bytes):
        return decode(image) if MODE is None else bare(image)

    assert trace(flow, {"decode": decode}).stages == ("decode",)


def test_a_flow_without_source_is_not_looked_into():
    space: dict[str, object] = {}
    exec("def flow(image): return image is None", space)
    flow = space["flow"]
    assert inspect.isfunction(flow)

    check_identity(flow)


def test_what_wraps_something_callable_that_is_no_function_is_not_looked_at():
    @functools.wraps(decide_by_is)
    def wrapper(*given):
        return given

    wrapper.__wrapped__ = functools.partial(max, 1)

    check_identity(wrapper)
