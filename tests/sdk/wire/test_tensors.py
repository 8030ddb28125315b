"""torch tensors travel bit by bit."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from regrain.errors import UnsupportedValueError
from regrain.wire import codec
from regrain.wire.frames import Leaf, Value

torch = pytest.importorskip("torch")

DTYPES = [
    "bool", "uint8", "int8", "int16", "uint16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
    "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
]  # fmt: skip


def carry(tensor):
    return codec.unpack(codec.pack(tensor, None), None)


@pytest.mark.parametrize("name", DTYPES)
def test_a_tensor_keeps_its_dtype_shape_and_bits(name: str) -> None:
    dtype = getattr(torch, name)
    tensor = torch.arange(dtype.itemsize * 6, dtype=torch.uint8).view(dtype).reshape(2, 3)
    if name == "bool":
        tensor = torch.tensor([[True, False, True], [False, False, True]])

    new = carry(tensor)

    assert new.dtype == dtype
    assert new.shape == tensor.shape
    assert torch.equal(new.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.tensor(2.5), id="no axes"),
        pytest.param(torch.zeros(0, 3), id="no items"),
        pytest.param(torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), id="channels last"),
        pytest.param(torch.rand(6, 8).T, id="transposed"),
        pytest.param(torch.rand(6, 8)[::2, ::3], id="strided"),
        pytest.param(torch.rand(5).expand(4, 5), id="expanded"),
        pytest.param(torch.rand(4, requires_grad=True), id="with a gradient"),
        pytest.param(torch.view_as_complex(torch.rand(4, 2)).conj(), id="conjugated lazily"),
        pytest.param(torch.rand(3).to(torch.bfloat16)[0], id="a bfloat16 without axes"),
    ],
)
def test_a_tensor_of_any_layout_travels(tensor) -> None:
    new = carry({"t": tensor})["t"]

    assert torch.equal(new, tensor.detach())
    assert not new.requires_grad


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last), id="channels last"),
        pytest.param(torch.rand(2, 3, 4).permute(2, 0, 1), id="permuted"),
    ],
)
def test_the_axes_of_a_tensor_keep_their_order_in_memory(tensor) -> None:
    assert carry(tensor).stride() == tensor.stride()


def test_a_tensor_that_arrives_may_be_written_to() -> None:
    tensor = torch.zeros(1000)

    carry(tensor).add_(1)

    assert tensor.sum() == 0


@pytest.mark.parametrize("name", ["float32", "bfloat16", "int64", "bool", "float16"])
def test_the_front_sees_tensors_as_arrays(name: str) -> None:
    for tensor in (
        torch.tensor([[1, 0, 3]]).to(getattr(torch, name)),
        torch.tensor(1).to(getattr(torch, name)),
    ):
        array = codec.plain(codec.pack(tensor, None), None)

        assert array.shape == tensor.shape
        assert array.tolist() == tensor.tolist()


def test_a_dtype_that_numpy_lacks_is_refused_where_arrays_are_asked_for() -> None:
    packed = codec.pack(torch.zeros(3, dtype=torch.float8_e5m2), None)

    with pytest.raises(UnsupportedValueError, match="float8_e5m2, which numpy does not have"):
        codec.plain(packed, None)


def nested():
    with warnings.catch_warnings(action="ignore"):  # its API is a prototype
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        pytest.param(torch.eye(3).to_sparse(), "sparse_coo", id="sparse"),
        pytest.param(torch.nn.Parameter(torch.zeros(1)), "Parameter at", id="a parameter"),
        pytest.param(torch.empty(2, device="meta"), "without values", id="on meta"),
        pytest.param(nested(), "nested", id="nested"),
    ],
)
def test_other_tensors_are_refused_by_name(tensor, message: str) -> None:
    with pytest.raises(UnsupportedValueError, match=message):
        codec.pack([tensor], None)


@pytest.mark.parametrize("tensor", [torch.empty(2, device="meta"), nested()], ids=["on meta", "nested"])
def test_a_fused_group_refuses_tensors_that_are_not_dense(tensor) -> None:
    with pytest.raises(UnsupportedValueError, match=r"at \[0\]"):
        codec.freeze([tensor])


def test_a_fused_group_refuses_the_tensors_that_a_split_one_does() -> None:
    with pytest.raises(UnsupportedValueError, match=r"sparse_coo.* at \[0\]"):
        codec.freeze([torch.eye(2).to_sparse()])


def test_each_stage_of_a_fused_group_has_a_tensor_to_itself() -> None:
    given = torch.ones(3, requires_grad=True)

    first, second = codec.fresh([given, given])
    first.add_(1)

    assert given.tolist() == second.tolist() == [1.0, 1.0, 1.0]
    assert not second.requires_grad


@pytest.mark.process
def test_to_write_and_to_show_values_torch_is_not_imported() -> None:
    leaf = Leaf("torch.float32", (1,), (), -1, 0, 4, 0, np.float32(1.5).tobytes())
    shown = Value(codec.pack(np.zeros(1), None).skeleton, (leaf,))
    script = (
        "import sys; from regrain.wire import codec; from regrain.wire.frames import Leaf, Value\n"
        f"codec.pack([1, b'x'], None); print(codec.plain({shown!r}, None), 'torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == "[1.5] False\n"
