import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, List, Literal, NewType, Tuple  # noqa: UP035  # as users write them

import jsonschema
import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from regrain.arrays import Tensor
from regrain.errors import SpecError
from regrain.request import Request, Response
from regrain.schema import convert, describe, item_of, parameters, returned, types_of

Image = Annotated[np.ndarray, Tensor("UINT8", (-1, -1, 3))]
Ages = NewType("Ages", list[int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    corner: tuple[int, int]
    scores: Annotated[np.ndarray, Tensor("FP32", (2,))]


@dataclass
class Page:
    boxes: list[Box]
    title: str | None = None
    tags: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Share:
    value: float

    def __post_init__(self):
        if self.value > 1:
            raise ValueError(f"a share is at most 1, was {self.value}")
        assert self.value > -1, "a share is above -1"
        if self.value == 0.25:
            raise KeyError(self.value)


@dataclass
class Tree:
    children: list["Tree"]


BOX = {"corner": [1, 2], "scores": [0.5, 1]}


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (bytes, "bytes"),
        (bytes | None, "bytes"),
        (str, "str"),
        (str | None, "str"),
        (np.ndarray, "array"),
        (npt.NDArray[np.float32], "array"),
        (Image, "array"),
        (Image | None, "array"),
        (Request, "request"),
        (Response, "request"),
        (int, "json"),
        (Page, "json"),
        (list[bytes], "json"),
        (Annotated[list[Image], "pages"], "json"),
        (int | str, "json"),
        (Any, "json"),
        (inspect.Parameter.empty, "json"),
    ],
    ids=str,
)
def test_the_kind_says_how_a_value_travels(annotation, kind):
    assert describe(annotation)[0] == kind


def test_a_tensor_tells_datatype_and_shape():
    _, schema, tensor = describe(Image)

    assert (tensor.datatype, tensor.shape) == ("UINT8", (-1, -1, 3))
    jsonschema.validate([[[1, 2, 3]], [[4, 5, 6]]], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([[[1, 2]]], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([[[0.5, 1, 2]]], schema)


def test_an_array_without_shape_has_no_tensor():
    assert describe(npt.NDArray[np.float32])[1:] == ({"type": "array"}, None)


def test_the_schema_of_a_dataclass_accepts_what_converts_and_refuses_what_does_not():
    _, schema, _ = describe(Page)

    jsonschema.validate({"boxes": [BOX]}, schema)
    for wrong in ({}, {"boxes": [{"corner": [1, 2]}]}, {"boxes": 3}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
        with pytest.raises(ValueError, match=r"\$"):
            convert(wrong, Page)


def test_a_schema_holds_what_json_libraries_leave_out():
    _, schema, _ = describe(dict[str, list[Box | Share | None] | object])
    _, boxes, _ = describe(list[Box | Share | None])
    _, tree, _ = describe(Tree)

    jsonschema.validate({"a": {1: 2}}, schema)
    jsonschema.validate([BOX, {"value": 0.5}, None], boxes)
    jsonschema.validate({"children": [{"children": []}]}, tree)
    for wrong in ([BOX | {"scores": [1]}], [{"other": 1}], [3]):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, boxes)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"children": [{}]}, tree)


def test_unions_of_dataclasses_become_the_one_that_fits():
    converted = convert([BOX, {"value": 0.5}, None], list[Box | Share | None])

    assert [type(item).__name__ for item in converted] == ["Box", "Share", "NoneType"]


def test_parameters_are_described_in_order():
    def read(image: bytes, limit: int = 3) -> Page: ...

    image, limit = parameters(read)

    assert (image.name, image.kind, image.required) == ("image", "bytes", True)
    assert (limit.name, limit.kind, limit.required) == ("limit", "json", False)
    assert limit.schema == {"type": "integer", "default": 3}


def test_a_default_that_json_cannot_show_is_left_out_of_the_schema():
    def read(mask: np.ndarray = np.zeros(2)): ...  # noqa: B008

    assert "default" not in parameters(read)[0].schema


def test_the_answer_is_the_parameter_without_a_name():
    def read(image: bytes) -> Image: ...

    answer = returned(read)

    assert (answer.name, answer.kind, answer.tensor.datatype) == ("", "array", "UINT8")


def test_types_that_no_request_carries_are_refused_by_name():
    def read(where: complex): ...

    with pytest.raises(
        SpecError, match=r"read: parameter 'where' is of type complex.*allowed are None, bool"
    ):
        parameters(read)


def test_any_number_of_parameters_is_refused():
    def read(*images: bytes): ...

    with pytest.raises(SpecError, match="'images' takes any number"):
        parameters(read)


def test_an_annotation_that_cannot_be_resolved_is_named():
    def read(image: "Missing"): ...  # noqa: F821

    with pytest.raises(SpecError, match=r"read: its annotations cannot be resolved: name 'Missing'"):
        types_of(read)


@pytest.mark.parametrize(
    ("annotation", "item"),
    [
        (list[int], int),
        (tuple[str, ...], str),
        (Annotated[list[Image], "pages"], Image),
        (tuple[int, str], None),
        (tuple[int, int], int),
        (Sequence[int], int),
        (list[int] | None, int),
        (Annotated[list[int], msgspec.Meta(max_length=3)], int),
        (list[int] | list[str], None),
        (Ages, int),
        (Annotated[Ages, "years"], int),
        (Iterable[int], None),
        (int, None),
        (Any, None),
        (list, None),
        (List, None),  # noqa: UP006
        (Tuple, None),  # noqa: UP006
        (None, None),
    ],
    ids=str,
)
def test_the_item_of_a_list_type(annotation, item):
    assert item_of(annotation) == item


def test_objects_become_dataclasses_all_the_way_down():
    page = convert({"boxes": [BOX], "tags": {"a": ["b"]}}, Page)

    assert isinstance(page, Page)
    assert page.title is None
    assert page.tags == {"a": ["b"]}
    assert page.boxes[0].corner == (1, 2)
    assert page.boxes[0].scores.dtype == np.float32
    assert page.boxes[0].scores.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (b"abc", bytes),
        ("text", str),
        (7, int),
        (None, str | None),
        ({"any": [1]}, Any),
        (object(), None),
        (Page([]), Page),
        (Request(), Request),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, type) else value.__name__,
)
def test_what_is_of_the_type_already_stays_as_it_is(value, annotation):
    assert convert(value, annotation) is value


def test_an_array_that_fits_is_not_copied():
    array = np.zeros((4, 5, 3), np.uint8)
    array.flags.writeable = False

    assert np.shares_memory(convert(array, Image), array)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        pytest.param(
            [1, 2], Annotated[np.ndarray, Tensor("FP32", (2,))], np.float32([1, 2]), id="ints to floats"
        ),
        pytest.param(
            [1, 2], Annotated[np.ndarray, Tensor("UINT8", (-1,))], np.uint8([1, 2]), id="ints to bytes"
        ),
        pytest.param([], Annotated[np.ndarray, Tensor("INT64", (-1,))], np.int64([]), id="empty"),
        pytest.param([True], npt.NDArray[np.bool_], np.array([True]), id="booleans"),
        pytest.param(3, Annotated[np.ndarray, Tensor("INT32", ())], np.int32(3), id="a number is 0-d"),
        pytest.param(np.array([1.5], ">f4"), npt.NDArray[np.float32], np.float32([1.5]), id="big-endian"),
        pytest.param([[1], [2]], np.ndarray, np.array([[1], [2]]), id="open"),
        pytest.param("aGk=", bytes, b"hi", id="base64"),
    ],
)
def test_what_came_as_json_becomes_the_type(value, annotation, expected):
    converted = convert(value, annotation)

    assert type(converted) is (bytes if annotation is bytes else np.ndarray)
    np.testing.assert_array_equal(converted, expected, strict=annotation is not bytes)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (np.zeros(2), Annotated[np.ndarray, Tensor("FP32", (2,))], "$: expected FP32, got FP64"),
        (np.zeros((2, 2), "u1"), Image, "$: expected shape [-1, -1, 3], got [2, 2]"),
        ([256], Annotated[np.ndarray, Tensor("UINT8", (-1,))], "$: expected UINT8, got INT64"),
        ([1.5], npt.NDArray[np.int32], "$: expected INT32, got FP64"),
        ([[1], [2, 3]], np.ndarray, "$: expected an array, got lists of different lengths"),
        (["a"], np.ndarray, "$: expected an array of numbers, got an array of str"),
        ("abc", np.ndarray, "$: expected an array, got a string"),
        (np.array(["2020"], "M8[s]"), npt.NDArray[np.int32], "$: expected INT32, got datetime64[s]"),
        ({"boxes": [BOX | {"corner": [1]}]}, Page, "$.boxes[0].corner: expected `array` of length 2"),
        ({"boxes": [BOX | {"scores": [1]}]}, Page, "$.boxes[0].scores: expected shape [2], got [1]"),
        ({"boxes": [BOX | {"a": 1}]}, Page, "$.boxes[0].a: no such field in Box, it has corner, scores"),
        ({"boxes": [{"corner": [1, 2]}]}, Page, "$.boxes[0].scores: missing"),
        ({"boxes": {}}, Page, "$.boxes: expected a list, got an object"),
        ({"boxes": [], "tags": {"a": [3]}}, Page, "$.tags[...][0]: expected `str`, got `int`"),
        ([], Page, "$: expected an object (Page), got a list"),
        ({"value": 2.0}, Share, "$: a share is at most 1, was 2.0"),
        ({"value": -2.0}, Share, "$: AssertionError: a share is above -1"),
        ({"value": 0.25}, Share, "$: KeyError: 0.25"),
        ([[1]], list[tuple[int, Image]], "$[0]: expected 2 items, got 1"),
        ([], dict[str, Image], "$: expected an object, got a list"),
        ({"a": 1}, dict[str, Image], "$.a: expected shape [-1, -1, 3], got []"),
        ("c", Literal["a", "b"], "$: invalid enum value 'c'"),
        (None, Page, "$: expected an object (Page), got null"),
        (-1, Annotated[int, msgspec.Meta(ge=0)], "$: expected `int` >= 0"),
        ([[[1]]], Annotated[list[Image], "pages"], "$[0]: expected shape [-1, -1, 3], got [1, 1]"),
        (3, str | bytes, "$: expected `bytes`, got `int`"),
        ("%", bytes, "$: invalid base64 encoded string"),
        ({"x": 1}, dict[int, float], "$.x: as a key, expected `int`, got `str`"),
        ([{"x": 1}], list[dict[int, float]], "$[0].x: as a key, expected `int`, got `str`"),
        ({"1": "x"}, dict[int, float], "$.1: expected `float`, got `str`"),
        ([BOX], Annotated[list[Box], msgspec.Meta(min_length=2)], "$: expected `array` of length >= 2"),
        ([1e39], Annotated[np.ndarray, Tensor("FP32", (1,))], "$: expected FP32, got 1e+39, which is too large"),
        ([1, 70000], Annotated[np.ndarray, Tensor("FP16", (2,))], "$: expected FP16, got 70000, which is too large"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(value, annotation, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared whole
        convert(value, annotation)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        ({"1": 2.0}, dict[int, float], {1: 2.0}),
        ({1: 2.0}, dict[int, float], {1: 2.0}),
        ([{"1": {"2": "a"}}], list[dict[int, dict[int, str]]], [{1: {2: "a"}}]),
        ({"0.5": 1}, dict[float, int] | None, {0.5: 1}),
        ({"1": BOX}, dict[int, object], {1: BOX}),
        ({"a": 1}, dict[Literal["a", "b"], int], {"a": 1}),
        ({"1": 2}, dict, {"1": 2}),
    ],
    ids=str,
)
def test_keys_are_text_in_json_whatever_they_stand_for(value, annotation, expected):
    assert convert(value, annotation) == expected


def test_a_list_of_any_kind_holds_dataclasses_and_arrays():
    limited = Annotated[list[Box], msgspec.Meta(max_length=1)]

    assert [type(box) for box in convert([BOX], limited)] == [Box]
    assert [type(box) for box in convert((BOX,), Sequence[Box])] == [Box]
    jsonschema.validate([BOX], describe(limited)[1])
    jsonschema.validate([BOX], describe(Sequence[Box])[1])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([BOX, BOX], describe(limited)[1])


def test_the_place_begins_as_the_caller_calls_it():
    with pytest.raises(ValueError, match=r"^page\.boxes: missing$"):
        convert({}, Page, at="page")


def test_torch_tensors_are_made_from_lists_and_arrays():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    array = np.arange(3, dtype=np.int16)
    array.flags.writeable = False

    assert convert([1, 2], torch.Tensor).dtype == torch.float32
    with pytest.raises(ValueError, match=r"\$: no tensor holds datetime64\[s\]"):
        convert(np.array(["2020"], "M8[s]"), torch.Tensor)
    assert convert(array, torch.Tensor).tolist() == [0, 1, 2]
    assert describe(torch.Tensor)[0] == "array"
    with pytest.raises(ValueError, match=r"expected shape \[2\], got \[3\]"):
        convert(torch.zeros(3), Annotated[torch.Tensor, Tensor("FP32", (2,))])
    with pytest.raises(ValueError, match=r"expected FP32, got torch\.int64"):
        convert(torch.zeros(2, dtype=torch.int64), Annotated[torch.Tensor, Tensor("FP32", (2,))])
