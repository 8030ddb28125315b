import msgspec
import numpy as np
import pytest

from regrain.errors import RequestError
from regrain.graph import Graph, Pack, Ref
from regrain.manifest import Manifest, Parameter, TensorSpec
from regrain.request import Request
from regrain_watchdog.front.call import Reply
from regrain_watchdog.front.oip.model import Model
from regrain_watchdog.front.oip.tensors import BYTES, Tensor
from regrain_watchdog.front.oip.values import tensors_of, values_of

MATRIX = Parameter(name="x", kind="array", tensor=TensorSpec(datatype="FP32", shape=(2, 3)))
TEXT = Parameter(name="text", kind="str", required=False)
OPTIONS = Parameter(name="options", kind="json", required=False)
FREE = Parameter(name="free", kind="array")
RAW = Parameter(name="event", kind="request")


def model(*parameters, output=None):
    graph = Graph(inputs=(), nodes=(), output=output or Ref("act"))
    answer = Parameter(name="", kind="json")
    return Model(Manifest(app="m", stages=(), graph=graph, parameters=parameters, answer=answer))


def array(name, shape, dtype=np.float32, datatype="FP32"):
    return Tensor(name=name, datatype=datatype, shape=shape, data=np.ones(shape, dtype))


def texts(name, *items, shape=None):
    items = list(items)
    return Tensor(name=name, datatype=BYTES, shape=(len(items),) if shape is None else shape, data=items)


@pytest.mark.parametrize(
    ("tensors", "count", "batched"),
    [
        pytest.param([array("x", (2, 3))], 1, False, id="as declared"),
        pytest.param([array("x", (1, 2, 3))], 1, True, id="a batch of one"),
        pytest.param([array("x", (4, 2, 3))], 4, True, id="a batch"),
        pytest.param([array("x", (2, 3)), texts("text", b"a")], 1, False, id="one text beside an array"),
        pytest.param([array("x", (2, 3)), texts("text", b"a", b"b")], 2, True, id="an array for each text"),
        pytest.param([array("x", (2, 2, 3)), texts("text", b"a")], 2, True, id="a text for each array"),
        pytest.param([array("x", (2, 2, 3)), texts("text", b"a", b"b", shape=(2, 1))], 2, True, id="columns"),
        pytest.param(
            [array("x", (2, 2, 3)), texts("text", b"a", shape=())], 2, True, id="text without shape"
        ),
    ],
)
def test_a_dimension_in_front_is_a_batch_of_calls(tensors, count, batched):
    calls, found = values_of(model(MATRIX, TEXT), tensors, {})

    assert (len(calls), found) == (count, batched)
    assert all(call["x"].shape == (2, 3) for call in calls)


def test_texts_alone_are_always_a_batch():
    calls, batched = values_of(model(TEXT), [texts("text", b"a")], {})

    assert (calls, batched) == ([{"text": "a"}], True)


def test_each_call_gets_its_own_item():
    calls, _ = values_of(model(TEXT, OPTIONS), [texts("text", b"a", b"b"), texts("options", b"[1]")], {})

    assert calls == [{"text": "a", "options": [1]}, {"text": "b", "options": [1]}]


def test_an_array_whose_type_says_nothing_is_one_value_of_any_shape():
    calls, batched = values_of(model(FREE), [array("free", (5, 4, 3))], {})

    assert calls[0]["free"].shape == (5, 4, 3)
    assert not batched


def test_an_app_of_whole_requests_gets_bodies():
    calls, _ = values_of(model(RAW), [texts("event", b"\xff", shape=())], {"a": "b"})

    assert calls == [{"event": Request(body=b"\xff", headers={"a": "b"}, method="POST", query={}, path="/")}]


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        pytest.param([array("x", (3, 2))], "expected shape [2, 3], got [3, 2]", id="shape"),
        pytest.param([array("x", (1, 1, 2, 3))], "expected shape [2, 3]", id="two dimensions in front"),
        pytest.param([array("x", (0, 2, 3))], "has 0 items, allowed are 1 to 256", id="an empty batch"),
        pytest.param([array("x", (257, 2, 3))], "has 257 items", id="too many"),
        pytest.param([array("x", (2, 3), np.float64, "FP64")], "expected FP32, got FP64", id="datatype"),
        pytest.param([texts("x", b"a")], "expected datatype FP32, got BYTES", id="text for an array"),
        pytest.param(
            [array("x", (2, 3)), array("text", (1,))], "expected datatype BYTES", id="array for a text"
        ),
        pytest.param([array("x", (2, 3)), texts("text", b"\xff")], "'text'", id="no UTF-8"),
        pytest.param(
            [array("x", (2, 3)), texts("options", b"{")], "'options': the body is no JSON", id="no JSON"
        ),
        pytest.param([array("x", (2, 3)), texts("text", *[b"a"] * 4, shape=(2, 2))], "[N, 1]", id="a matrix"),
        pytest.param([array("x", (2, 3))] * 2, "given twice", id="twice"),
        pytest.param([array("y", (2, 3))], "no input 'y'; the model takes x, text, options", id="unknown"),
        pytest.param([], "'x' is missing", id="missing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tensors, said):
    with pytest.raises(RequestError) as raised:
        values_of(model(MATRIX, TEXT, OPTIONS), tensors, {})

    assert raised.value.status == 400
    assert said in raised.value.detail


@pytest.mark.parametrize(
    ("value", "datatype", "shape"),
    [
        pytest.param(np.zeros((2, 3), np.int64), "INT64", (2, 3), id="array"),
        pytest.param(np.float32(1), "FP32", (), id="scalar"),
        pytest.param(np.zeros(2, ">f4"), "FP32", (2,), id="other byte order"),
        pytest.param(b"\xff", BYTES, (1,), id="bytes"),
        pytest.param("text", BYTES, (1,), id="str"),
        pytest.param({"a": [1]}, BYTES, (1,), id="json"),
        pytest.param(None, BYTES, (1,), id="null"),
    ],
)
def test_an_answer_is_a_tensor_of_its_own_type(value, datatype, shape):
    (output,) = tensors_of(model(), [Reply(value=value)], batched=False, wanted=())

    assert (output.name, output.datatype, output.shape) == ("output", datatype, shape)


def test_answers_of_a_batch_are_put_together():
    replies = [Reply(value=np.full((3,), at)) for at in range(4)]

    (output,) = tensors_of(model(), replies, batched=True, wanted=())

    assert output.shape == (4, 3)
    np.testing.assert_array_equal(output.data[:, 0], range(4))


def test_json_of_a_batch_is_one_item_each():
    (output,) = tensors_of(model(), [Reply(value={"a": at}) for at in range(3)], batched=True, wanted=())

    assert output.shape == (3,)
    assert [msgspec.json.decode(item) for item in output.data] == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_answers_that_differ_in_shape_are_no_batch():
    replies = [Reply(value=np.zeros(3)), Reply(value=np.zeros(4))]

    with pytest.raises(RequestError, match=r"'output' has .* one by one") as raised:
        tensors_of(model(), replies, batched=True, wanted=())

    assert raised.value.status == 500


def test_a_flow_that_returns_a_dict_has_an_output_per_key_and_gives_those_wanted():
    split = model(output=Pack("dict", (Ref("a"), Ref("b")), ("left", "right")))

    outputs = tensors_of(split, [Reply(value={"left": 1, "right": 2})], batched=False, wanted=["right"])

    assert split.outputs == ("left", "right")
    assert [(one.name, one.data) for one in outputs] == [("right", [b"2"])]


def test_a_flow_that_returns_a_tuple_has_numbered_outputs():
    split = model(output=Pack("tuple", (Ref("a"), Ref("b"))))

    outputs = tensors_of(split, [Reply(value=[1, 2])], batched=False, wanted=())

    assert [(one.name, one.data) for one in outputs] == [("output_0", [b"1"]), ("output_1", [b"2"])]


def test_an_early_answer_of_another_form_is_the_output():
    split = model(output=Pack("tuple", (Ref("a"), Ref("b"))))

    (output,) = tensors_of(split, [Reply(value="early")], batched=False, wanted=())

    assert (output.name, output.data) == ("output", [b"early"])


def test_an_early_answer_is_given_whichever_outputs_are_wanted():
    split = model(output=Pack("tuple", (Ref("a"), Ref("b"))))

    (output,) = tensors_of(split, [Reply(value="early")], batched=False, wanted=["output_1"])

    assert output.data == [b"early"]


def test_an_answer_with_an_error_s_status_is_that_error():
    with pytest.raises(RequestError, match="not yours") as raised:
        tensors_of(model(), [Reply(value="not yours", status=403)], batched=False, wanted=())

    assert raised.value.status == 403


def test_an_answer_that_no_tensor_can_hold_is_an_error_of_the_app():
    with pytest.raises(RequestError, match="no tensor") as raised:
        tensors_of(model(), [Reply(value=np.array([1j]))], batched=False, wanted=())

    assert raised.value.status == 500
