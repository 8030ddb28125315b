import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain._onnx import onnx
from regrain.weights.onnx_file import ALIGNMENT, PACKED, align, locations

ODD = 301
"""Columns that leave what follows off any boundary."""


@pytest.fixture
def random():
    return np.random.default_rng(1)


def cases(file):
    """Per operator that packs: nodes from x to y, shapes of the weights, and of x and y."""
    node = file.node
    return {
        "MatMul": ([node("MatMul", ["x", "w"], "y")], {"w": (64, ODD)}, (5, 64), ("n", "m")),
        "Gemm": (
            [node("Gemm", ["x", "w", "b"], "y", transB=1)],
            {"w": (ODD, 64), "b": (ODD,)},
            (5, 64),
            ("n", "m"),
        ),
        "FusedGemm": (
            [node("Gemm", ["x", "w", "b"], "g"), node("Relu", ["g"], "y")],
            {"w": (64, ODD), "b": (ODD,)},
            (5, 64),
            ("n", "m"),
        ),
        "FusedMatMul": (
            [node("Transpose", ["x"], "t", perm=(0, 2, 1)), node("MatMul", ["t", "w"], "y")],
            {"w": (64, ODD)},
            (2, 64, 5),
            ("n", "m", "k"),
        ),
        "ConvTranspose": (
            [node("ConvTranspose", ["x", "w"], "y", kernel_shape=(3, 3), strides=(2, 2))],
            {"w": (7, 9, 3, 3)},
            (1, 7, 8, 8),
            ("n", 9, "h", "w"),
        ),
        "LSTM": (
            [node("LSTM", ["x", "w", "r", "b"], "y", hidden_size=65)],
            {"w": (1, 260, 31), "r": (1, 260, 65), "b": (1, 520)},
            (6, 2, 31),
            ("t", 1, "n", 65),
        ),
        "GRU": (
            [node("GRU", ["x", "w", "r", "b"], "y", hidden_size=65)],
            {"w": (1, 195, 31), "r": (1, 195, 65), "b": (1, 390)},
            (6, 2, 31),
            ("t", 1, "n", 65),
        ),
    }


def offsets(data):
    """Where weights and packed weights lie, as the model's file says."""
    text = data.decode("latin-1")
    plain = [int(part[2 : 2 + ord(part[1])]) for part in text.split("\n\x06offset")[1:]]
    packed = [
        int(blob.partition(";")[0])
        for part in text.split("\n\x0bprepacked_0\x12")[1:]
        for blob in part[1 : 1 + ord(part[0])].split("|")[1:]
    ]
    return plain, packed


@pytest.mark.parametrize("operator", sorted(PACKED))
def test_packed_weights_are_used_from_the_file_and_the_answer_stays(
    operator, onnx_file, random, tmp_path, kept_weights
):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    nodes, shapes, taken, given_back = cases(onnx_file)[operator]
    odd = random.standard_normal((ODD,), np.float32)  # of 1,204 bytes; the packed ones come behind it
    weights = {"odd": odd} | {
        name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()
    }
    ports = {"x": tuple(taken)}, {"y": given_back, "z": (ODD,)}
    graph = onnx_file.graph([*nodes, onnx_file.node("Relu", ["odd"], "z")], weights, *ports)
    path = onnx_file.write(tmp_path / "net.onnx", graph)
    x = random.standard_normal(taken, np.float32)

    own, *again = (onnx(str(path), share=share)(x) for share in (False, True, True))

    (kept,) = kept_weights.glob("onnx-*/model.onnx")
    plain, packed = offsets(kept.read_bytes())
    assert f"{operator}+".encode() in kept.read_bytes()
    assert packed
    assert [offset % ALIGNMENT for offset in plain + packed] == [0] * len(plain + packed)
    for given_again in again:
        np.testing.assert_array_equal(given_again[0], own[0])


def test_weights_of_branches_move_as_well(onnx_file, random, tmp_path, kept_weights, caplog):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    branches = {}
    for name in ("then_branch", "else_branch"):
        weights = {f"{name}_w": random.standard_normal((64, ODD), np.float32)}
        nodes = [onnx_file.node("MatMul", ["x", f"{name}_w"], f"{name}_y")]
        branches[name] = onnx_file.graph(nodes, weights, {}, {f"{name}_y": ("n", ODD)})
    nodes = [
        onnx_file.node("ReduceSum", ["x"], "sum", keepdims=0),
        onnx_file.node("Cast", ["sum"], "condition", to=9),
        onnx_file.node("If", ["condition"], "y", **branches),
    ]
    graph = onnx_file.graph(nodes, {}, {"x": ("n", 64)}, {"y": ("n", ODD)})
    path = onnx_file.write(tmp_path / "net.onnx", graph)

    own, shared = (onnx(str(path), share=share) for share in (False, True))

    assert caplog.records == []
    for x in (np.zeros((2, 64), np.float32), np.ones((2, 64), np.float32)):
        np.testing.assert_array_equal(shared(x)[0], own(x)[0])


def test_it_names_the_files_that_hold_weights(onnx_file, tmp_path):
    weights = {"w": np.zeros((2, 2), np.float32)}
    node = onnx_file.node("MatMul", ["x", "w"], "y")
    inside = onnx_file.graph([node], weights, {"x": (1, 2)}, {"y": (1, 2)})
    outside = onnx_file.graph([node], weights, {"x": (1, 2)}, {"y": (1, 2)}, data=tmp_path / "net.data")

    assert locations(onnx_file.write(tmp_path / "inside.onnx", inside)) == set()
    assert locations(onnx_file.write(tmp_path / "outside.onnx", outside)) == {"net.data"}


def test_a_weight_beyond_its_file_is_refused(onnx_file, tmp_path):
    data = tmp_path / "net.data"
    node = onnx_file.node("MatMul", ["x", "w"], "y")
    graph = onnx_file.graph(
        [node], {"w": np.zeros((2, 2), np.float32)}, {"x": (1, 2)}, {"y": (1, 2)}, data=data
    )
    path = onnx_file.write(tmp_path / "net.onnx", graph)
    data.write_bytes(data.read_bytes()[:-1])

    with pytest.raises(ValueError, match="a weight of 16 bytes at 0 in a file of 15"):
        align(path, data, tmp_path / "to.onnx", tmp_path / "to.data")


@given(
    st.binary(max_size=60) | st.binary(max_size=40).map(lambda inner: b"\x3a" + bytes([len(inner)]) + inner)
)
def test_whatever_is_in_the_file_it_is_read_or_refused(data):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(data)
        try:
            found = locations(path)
        except ValueError:
            return
    assert all(isinstance(name, str) for name in found)
