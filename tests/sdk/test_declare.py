"""What a stage may be declared with, and what may be declared as one."""

import functools
import operator
from collections.abc import Sequence

import numpy as np
import pytest

from regrain import GPU, App, SpecError, TraceError
from regrain.manifest import GPUSpec, StageSpec


@pytest.fixture
def app():
    return App("declared")


def plain(value: int) -> int:
    return value


def batch(values: list[int]) -> list[int]:
    return values


def test_every_option_reaches_the_declaration(app):
    stage = app.batched(
        name="read",
        max_size=32,
        max_wait=0.005,
        cpu=0.5,
        memory="512Mi",
        gpu=GPU(memory="1Gi", share=0.25),
        size="pixels",
        idempotent=False,
        timeout=2,
        errors="return",
    )(batch)

    assert stage.spec == StageSpec(
        name="read",
        digest=stage.spec.digest,
        batched=True,
        max_size=32,
        max_wait=0.005,
        cpu=0.5,
        memory=512 << 20,
        gpu=GPUSpec(memory=1 << 30, share=0.25),
        size="pixels",
        idempotent=False,
        timeout=2.0,
        errors="return",
    )
    assert app.stages == {"read": stage}


def test_a_stage_says_as_little_as_its_function(app):
    stage = app.stage()(plain)

    assert stage.spec == StageSpec(name="plain", digest=stage.spec.digest)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cpu": 0}, "cpu of a stage must be a number of cores over 0, was 0"),
        ({"cpu": "2"}, "cpu .* was '2'"),
        ({"cpu": True}, "cpu .* was True"),
        ({"cpu": float("nan")}, "cpu .* was nan"),
        ({"max_size": 0}, "max_size of a stage must be a whole number, 1 or more, was 0"),
        ({"max_size": 1.5}, "max_size .* was 1.5"),
        ({"max_wait": -0.1}, "max_wait of a stage must be seconds, 0 or more, was -0.1"),
        ({"max_wait": "5ms"}, "max_wait .* was '5ms'"),
        ({"timeout": 0}, "timeout of a stage must be seconds over 0, or None, was 0"),
        ({"memory": "lots"}, "memory must be bytes or a size like \"512Mi\" .* was 'lots'"),
        ({"memory": -1}, "memory must be .* was -1"),
        ({"gpu": "1Gi"}, r"gpu of a stage must be GPU\(\.\.\.\) or None, was '1Gi'"),
        ({"size": "inches"}, "size .* must be one of bytes, items, pixels, or a function .* was 'inches'"),
        ({"idempotent": 1}, "idempotent of a stage must be True or False, was 1"),
        ({"errors": "ignore"}, 'errors of a stage must be "raise" or "return", was \'ignore\''),
    ],
)
def test_an_option_outside_of_what_is_allowed_is_refused_on_its_line(app, options, says):
    with pytest.raises(SpecError, match=says) as caught:
        app.batched(**options)

    assert str(caught.value).startswith(f"{__file__}:{caught.tb.tb_lineno}: ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"memory": "1GB"}, "memory of GPU must be bytes or a size"),
        ({"share": 0}, r"share of GPU must be in \(0, 1\], was 0"),
        ({"share": 1.5}, r"share of GPU must be in \(0, 1\], was 1.5"),
        ({"share": "all"}, "share of GPU .* was 'all'"),
    ],
)
def test_a_gpu_refuses_nonsense(options, says):
    with pytest.raises(SpecError, match=says):
        GPU(**options)


def test_a_decorator_without_its_parentheses_says_how_to_write_it(app):
    with pytest.raises(
        SpecError, match=r"app\.stage takes options by name, got <function plain.*write @app\.stage\(\)"
    ):
        app.stage(plain)
    with pytest.raises(
        SpecError, match=r"write @app\.batched\(\) over a function, or name = app\.batched\(\)\(Class\)"
    ):
        app.batched(batch)


async def is_async(value: int) -> int:
    return value


async def is_async_generator(value: int):
    yield value


def yields_text(value: int) -> str:
    yield value


def takes_any_number(*values: int) -> int:
    return 1


def takes_any_names(**values: int) -> int:
    return 1


class HasNoCall:
    pass


class NeedsAnArgument:
    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self, value: int) -> int:
        return value


class IsAsync:
    async def __call__(self, value: int) -> int:
        return value


def named_coarse(value: int) -> int:
    return value


named_coarse.__name__ = "coarse"


def named_fluid(value: int) -> int:
    return value


named_fluid.__name__ = "fluid"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (is_async, r"is_async\(\) is async; a stage is a plain function"),
        (is_async_generator, r"is_async_generator\(\) is async"),
        (yields_text, r"yields_text\(\) is a generator \(it yields\); what it returns is annotated Iterator"),
        (takes_any_number, r"takes_any_number\(\) takes any number of arguments \(\*values: int\)"),
        (takes_any_names, r"takes any number of arguments \(\*\*values: int\); a stage names each"),
        (HasNoCall, r"class HasNoCall has no __call__\(self, \.\.\.\)"),
        (NeedsAnArgument, "class NeedsAnArgument is built without arguments .* required argument: 'path'"),
        (IsAsync, "class IsAsync is async"),
        (lambda value: value, "a stage's name is letters, digits and _, was '<lambda>'; give one by name="),
        (named_coarse, "'coarse' is the name of a grain; a stage needs another one"),
        (named_fluid, "'fluid' is the name of a grain; a stage needs another one"),
        (
            functools.partial(plain, 1),
            r"a stage is a function or a class with __call__, was functools\.partial",
        ),
        (print, "a stage is a function or a class with __call__, was <built-in function print>"),
        (3, "a stage is a function or a class with __call__, was 3"),
    ],
)
def test_what_can_be_no_stage_is_refused_on_its_line(app, source, says):
    with pytest.raises(SpecError, match=says) as caught:
        app.stage()(source)

    assert str(caught.value).startswith(f"{__file__}:{caught.tb.tb_lineno}: ")
    assert app.stages == {}


def of_nothing() -> list[int]:
    return []


def of_an_item(value: int) -> list[int]:
    return [value]


def to_an_item(values: list[int]) -> int:
    return 1


def to_nothing(values: list[int]) -> None:
    return None


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (of_nothing, r"of_nothing\(\) takes nothing; a batched stage takes a list per parameter"),
        (of_an_item, r"of_an_item\(\): a batched stage takes a list per parameter, 'value' is no list"),
        (to_an_item, r"to_an_item\(\): a batched stage returns a list, one result per item"),
        (to_nothing, "a batched stage returns a list, one result per item"),
    ],
)
def test_a_batched_body_takes_and_returns_lists(app, source, says):
    with pytest.raises(SpecError, match=says):
        app.batched()(source)


def wide(values: Sequence[int]) -> Sequence[int] | np.ndarray:
    return values


def bare(values):
    return values


def unresolved(values: "list[Missing]") -> "list[Missing]":  # noqa: F821
    return values


@pytest.mark.parametrize("source", [wide, bare, unresolved])
def test_a_batched_body_may_leave_its_types_open(app, source):
    assert app.batched()(source).name == source.__name__


def test_a_name_that_is_taken_is_refused_with_both_lines(app):
    first = app.stage()(plain)

    with pytest.raises(
        TraceError, match=rf"stage 'plain' is declared twice, first at {first.place}; rename one"
    ) as caught:
        app.batched(name="plain")(batch)
    assert str(caught.value).startswith(f"{__file__}:{caught.tb.tb_lineno}: ")


def test_the_digest_changes_with_source_and_options_and_with_nothing_else(app):
    def double(value: int) -> int:
        return value * 2

    digest = app.stage(name="first")(double).spec.digest

    assert len(digest) == 16
    assert app.stage(name="second")(double).spec.digest == digest
    assert app.stage(name="third", cpu=2)(double).spec.digest != digest
    assert app.stage(name="fourth", size=lambda value: value)(double).spec.digest != digest
    assert app.stage(name="fifth", size=lambda value: value + 1)(double).spec.digest != digest
    assert app.stage(name="sixth")(plain).spec.digest != digest


class Sides:
    def __call__(self, value: int) -> int:
        return value


def scaled(value: int, by: int) -> int:
    return value * by


def test_whatever_can_be_called_may_be_the_size_and_counts_for_the_digest(app):
    sizes = [functools.partial(scaled, by=2), operator.attrgetter("real"), Sides(), len]

    stages = [app.stage(name=f"stage_{place}", size=size)(plain) for place, size in enumerate(sizes)]

    assert [stage.spec.size for stage in stages] == ["function"] * 4
    assert len({stage.spec.digest for stage in stages}) == 4
    assert [stage.measure(3) for stage in stages[:3]] == [6.0, 3.0, 3.0]


def test_a_function_without_source_has_a_digest_too(app):
    space: dict[str, object] = {}
    exec("def made(value): return value", space)

    assert len(app.stage()(space["made"]).spec.digest) == 16


def test_a_wrapped_function_has_the_parameters_of_what_it_wraps(app):
    @functools.wraps(plain)
    def wrapper(*args, **kwargs):
        return plain(*args, **kwargs) + 1

    stage = app.stage()(wrapper)

    assert str(stage.signature) == "(value: int)"
    assert stage(1) == 2
