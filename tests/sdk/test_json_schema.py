"""What a schema calls the types that it refers to."""

from dataclasses import make_dataclass
from itertools import permutations
from typing import TypedDict

import jsonschema
import pytest

from regrain.json_schema import json_schema

Row = TypedDict("Page", {"row": int})  # noqa: UP013  # of the name of others


def page(module: str, field: str, kind: object = int) -> type:
    made = make_dataclass("Page", [(field, kind)])
    made.__module__ = module
    return made


LEFT, RIGHT, AGAIN = page("left", "left"), page("right", "right"), page("right", "again")
KINDS = {"left": LEFT, "right": RIGHT, "again": AGAIN, "row": Row}


@pytest.mark.parametrize("order", list(permutations(KINDS)), ids=" ".join)
def test_types_of_one_name_are_told_apart(order):
    schema = json_schema(tuple[*(KINDS[name] for name in order)])

    jsonschema.validate([{name: 1} for name in order], schema)
    for wrong in ([{name: 1} for name in reversed(order)], [{name: "a"} for name in order]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_a_type_is_called_by_its_own_name_and_only_then_by_its_modules():
    assert list(json_schema(tuple[LEFT, LEFT])["$defs"]) == ["Page"]
    assert list(json_schema(tuple[LEFT, RIGHT, AGAIN])["$defs"]) == ["Page", "right.Page", "right.Page-2"]


def test_what_types_of_one_name_hold_is_told_apart_too():
    outer = page("outer", "inner", LEFT)

    schema = json_schema(tuple[outer, RIGHT])

    jsonschema.validate([{"inner": {"left": 1}}, {"right": 1}], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"inner": {"right": 1}}, {"right": 1}], schema)
