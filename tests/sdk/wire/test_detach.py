"""What a stage keeps of its result is told from what it gave away, and nothing else is copied."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from regrain.errors import UnsupportedValueError
from regrain.wire.codec import freeze
from regrain.wire.detach import Lost, detach

torch = pytest.importorskip("torch")


@dataclass
class Picture:
    pixels: np.ndarray


def addresses(value: object) -> Iterator[int]:
    """Where the arrays and tensors of a value lie."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from addresses(item)
    elif isinstance(value, dict):
        yield from addresses(list(value.values()))
    elif isinstance(value, Picture):
        yield from addresses(value.pixels)
    else:
        yield value.data_ptr() if isinstance(value, torch.Tensor) else value.__array_interface__["data"][0]


def inferred(give: Callable[[object], object] = lambda tensor: tensor) -> object:
    with torch.inference_mode():
        return give(torch.ones(4) * 2)


def halves(of: object) -> dict[str, object]:
    return {"first": of[:2], "second": of[2:]}


ALONE = [
    pytest.param(lambda: np.ones(3), id="an array"),
    pytest.param(lambda: np.arange(6.0).reshape(2, 3).T, id="a view"),
    pytest.param(lambda: list(np.ones((3, 2))), id="the rows of one array"),
    pytest.param(lambda: halves(np.ones(4)), id="two views of one array"),
    pytest.param(lambda: [np.ones(2), (np.ones(3), Picture(np.ones(4)))], id="in containers"),
    pytest.param(lambda: torch.ones(3), id="a tensor"),
    pytest.param(inferred, id="a tensor that was inferred"),
    pytest.param(lambda: inferred(halves), id="two views of one tensor"),
    pytest.param(lambda: inferred().numpy(), id="the array of a tensor"),
    pytest.param(lambda: list(torch.ones(3, 2).numpy()), id="the rows of the array of a tensor"),
]


@pytest.mark.parametrize("make", ALONE)
def test_what_nobody_else_holds_is_not_copied(make: Callable[[], object]) -> None:
    held = [make(), make()]
    before = list(addresses(held))

    after = detach(held, [])

    assert not held
    assert list(addresses(after)) == before


def test_what_onnxruntime_gives_is_not_copied(onnx_file: ModuleType, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = onnx_file.graph([onnx_file.node("Relu", ["x"], "y")], {}, {"x": ("n", 8)}, {"y": ("n", 8)})
    session = onnxruntime.InferenceSession(str(onnx_file.write(tmp_path / "relu.onnx", graph)))
    held = session.run(None, {"x": np.ones((4, 8), np.float32)})
    before = list(addresses(held))

    assert list(addresses(detach(held, []))) == before


def test_what_was_handed_over_is_handed_on_without_a_copy() -> None:
    for own in (np.arange(6.0), torch.arange(6.0).numpy(), np.frombuffer(b"x" * 24, np.float32)):
        given = freeze(own)
        held = [given, given[2:], {"again": given[:3]}]
        before = list(addresses(held))

        assert list(addresses(detach(held, [{"given": [given]}]))) == before


def test_a_read_only_array_that_its_stage_cannot_write_to_either_is_not_copied() -> None:
    table = np.arange(6.0)
    table.flags.writeable = False

    [row] = detach([table[2:4]], [])

    assert np.shares_memory(row, table)


KEPT = [
    pytest.param(np.ones(4), lambda kept: kept, id="an array"),
    pytest.param(np.ones(4), lambda kept: kept[:2], id="a view of an array"),
    pytest.param(np.ones((4, 2)), list, id="the rows of an array"),
    pytest.param(np.ones(4), lambda kept: {"a": [Picture(kept)]}, id="in containers"),
    pytest.param([np.ones(4)], lambda kept: kept, id="in a list that is kept"),
    pytest.param(Picture(np.ones(4)), lambda kept: kept, id="in a dataclass that is kept"),
    pytest.param(np.ones(4), lambda kept: np.broadcast_to(kept, (2, 4)), id="a read-only view"),
    pytest.param(bytearray(16), lambda kept: np.frombuffer(kept, np.float32), id="a buffer of bytes"),
    pytest.param(torch.ones(4), lambda kept: kept, id="a tensor"),
    pytest.param(torch.ones(4), lambda kept: kept[1:], id="a view of a tensor"),
    pytest.param(torch.ones(4), lambda kept: kept.detach(), id="a tensor in the same memory"),
    pytest.param(torch.ones(4), lambda kept: kept[1:].numpy(), id="the array of a tensor"),
    pytest.param(torch.ones(4).untyped_storage(), lambda kept: torch.empty(0).set_(kept), id="a storage"),
    pytest.param(np.ones(4), torch.from_numpy, id="the tensor of an array"),
    pytest.param(np.ones(4), np.from_dlpack, id="by DLPack"),
]


@pytest.mark.parametrize(("kept", "give"), KEPT)
def test_what_its_stage_holds_too_is_copied(kept: object, give: Callable[[object], object]) -> None:
    held = [give(kept)]
    before = list(addresses(held))

    after = detach(held, [])

    assert set(before).isdisjoint(addresses(after))


def test_a_copy_keeps_the_order_of_the_axes() -> None:
    kept = np.arange(6.0).reshape(2, 3).T

    [copied] = detach([kept], [])

    assert copied.strides == kept.strides
    assert copied.tolist() == kept.tolist()


def test_containers_are_copied() -> None:
    kept = [1, {"a": [2]}]

    [copied] = detach([kept], [])
    kept[1]["a"].append(3)
    kept.clear()

    assert copied == [1, {"a": [2]}]


def test_a_value_that_holds_itself_twice_is_left_as_it_is_at_once() -> None:
    parent: dict[str, object] = {}
    parent["children"] = [{"parent": parent}, {"parent": parent}]

    [left] = detach([parent], ())

    assert left is parent
    with pytest.raises(UnsupportedValueError, match="more than 100 containers"):
        freeze(left)


@pytest.mark.parametrize("place", [0, 1], ids=["before", "after"])
def test_beside_a_value_that_holds_itself_what_is_kept_is_copied_all_the_same(place: int) -> None:
    kept = np.ones(4)
    endless: dict[str, object] = {"array": kept}
    endless["itself"] = endless
    held: list[object] = [kept]
    held.insert(place, endless)

    after = detach(held, ())

    assert after[place] is endless
    assert not np.shares_memory(after[1 - place], kept)


def test_what_cannot_be_copied_is_lost_alone() -> None:
    kept = np.ones(1)

    lost, copied = detach([np.broadcast_to(kept, 2**58), kept], ())

    assert isinstance(lost, Lost)
    assert isinstance(lost.error, MemoryError)
    assert copied == kept
    assert copied is not kept


def test_a_tensor_of_no_memory_is_left_as_it_is_among_others() -> None:
    kept = torch.ones(2)
    escaped: list[object] = []
    torch.vmap(lambda row: (escaped.append(row), row)[1])(torch.ones(2, 2))
    tensor = escaped.pop()

    left, copied = detach([{"tensor": tensor}, kept], ())

    assert left["tensor"] is tensor
    assert copied.tolist() == kept.tolist()
    assert copied.data_ptr() != kept.data_ptr()
