"""Where in the user's code something was written."""

import inspect

from regrain import App
from regrain.place import caller, within

app = App("places")


def double(items: list[int]) -> list[int]:
    return items


class DoubleNet:
    def __call__(self, items: list[int]) -> list[int]:
        return items


at_module_level = app.batched()(DoubleNet)
over_lines = app.batched(
    max_size=3,
)(
    DoubleNet,
)


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_caller_is_the_line_outside_of_the_package():
    place = caller()

    assert (place.file, place.line) == (__file__, here() - 2)
    assert str(place) == f"{__file__}:{place.line}"


def test_within_is_the_innermost_line_of_a_file_that_runs():
    place = within(__file__)

    assert place is not None
    assert place.line == here() - 3
    assert within("/nowhere.py") is None


def test_a_class_is_called_after_the_variable_that_it_is_assigned_to():
    inside = app.batched()(DoubleNet)
    annotated: object = app.batched()(DoubleNet)

    assert [at_module_level.name, over_lines.name, inside.name] == ["at_module_level", "over_lines", "inside"]
    assert repr(annotated).startswith("<Batched 'annotated', ")
    assert at_module_level.place.file == __file__


def test_a_class_that_is_assigned_to_no_plain_variable_is_called_after_itself():
    other = App("other")
    kept = {"stage": other.stage()(DoubleNet)}
    named = other.stage(name="deep_net")(DoubleNet)

    assert kept["stage"].name == "double_net"
    assert named.name == "deep_net"


def test_a_variable_that_a_closure_shares_is_a_variable_too():
    shared = App("other").stage()(DoubleNet)

    def name() -> str:
        return shared.name

    assert name() == "shared"


def test_a_function_keeps_its_name_whatever_it_is_assigned_to():
    renamed = app.batched()(double)

    assert renamed.name == "double"


def test_a_variable_of_a_large_module_is_found_as_well():
    names = "".join(f"name_{number} = {number}\n" for number in range(300))
    module: dict[str, object] = {"__name__": "large", "app": App("large"), "DoubleNet": DoubleNet}

    exec(f"{names}deep = app.stage()(DoubleNet)\n", module)

    assert repr(module["deep"]).startswith("<Stage 'deep', ")
