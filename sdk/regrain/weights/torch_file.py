"""Move the weights of a torch module into a file that all replicas map, whatever the module was built from.

Eager torch computes with weights as they lie in memory, so a mapping is as good as a heap. The file is named by
a hash of what the module holds: it is right for modules from a seed, from TorchScript and from any loader. What
others see already (a file mapped by torch.load or safetensors, a module built before the zygote forked) stays.

The same file is what a GPU's holder copies to its device, where `lend` lets a module's parameters lie.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from regrain.weights.device import Lender
from regrain.weights.store import LEAST, Store

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ALIGNMENT = 64
"""Bytes; as torch's own allocator, so that the same kernels run."""
DATA = "weights.bin"
_PAGEMAP_ENTRY = 8
"""Bytes per page in /proc/self/pagemap; its bits are described in Documentation/admin-guide/mm/pagemap.rst."""
_EXCLUSIVE, _OF_A_FILE, _PRESENT = (np.uint64(1 << bit) for bit in (56, 61, 63))


@dataclass(frozen=True, slots=True)
class _Block:
    """A storage of the module, and where it goes in the file."""

    address: int
    content: memoryview
    offset: int


def share(module: Module, store: Store, *, least: int = LEAST) -> bool:
    """Let the module's parameters and buffers lie in a mapped file; return whether any was moved.

    What the module writes into them stays this process's own (the mapping is copy on write).

    Args:
        module: on the CPU, whole or in part; tensors elsewhere are left alone.
        store: where the file is kept.
        least: bytes of weights below which all is left as it is.

    Raises:
        OSError: the store cannot be used.
        RuntimeError: torch does not let a tensor be moved; those moved before it stay moved.
    """
    import torch  # noqa: PLC0415  # heavy, and only where an app has it

    tensors = list(_movable(chain(module.parameters(), module.buffers())))
    blocks = _blocks(tensors, _is_private)
    if _total(blocks) < max(1, least):
        return False
    file = _kept(store, _key(blocks), blocks)
    _move(tensors, blocks, torch.UntypedStorage.from_file(str(file), False, _end(blocks)), "cpu")
    return True


def lend(module: Module, store: Store, lender: Lender, *, least: int = LEAST) -> bool:
    """Let the module's parameters lie in a device's memory that all replicas map; return whether any was moved.

    Buffers are left: a module may write into them, and here all would see it. So would they see a parameter written.

    Args:
        module: on the CPU, in its final dtype; what is elsewhere is left alone.
        store: where the file is kept that the device's memory is filled from.
        lender: of the device.
        least: bytes of weights below which all is left as it is.

    Raises:
        OSError, RegrainError: the store or the device cannot be used.
        RuntimeError: torch does not let a tensor be moved; those moved before it stay moved.
    """
    import torch  # noqa: PLC0415  # as above

    tensors = list(_movable(module.parameters()))
    blocks = _blocks(tensors, lambda _address, _nbytes: True)
    if _total(blocks) < max(1, least):
        return False
    key = _key(blocks)
    lent = torch.as_tensor(
        lender.borrow(key, _end(blocks), lambda: _kept(store, key, blocks)), device=lender.device
    )
    _move(tensors, blocks, lent.untyped_storage(), lender.device)
    return True


def _move(tensors: Iterable[Tensor], blocks: Mapping[int, _Block], to: object, device: str) -> None:
    """Let tensors lie where their blocks are in another storage."""
    import torch  # noqa: PLC0415  # as above

    for tensor in tensors:
        block = blocks.get(tensor.untyped_storage().data_ptr())
        if block is not None:
            start = block.offset // tensor.itemsize + tensor.storage_offset()
            view = torch.empty(0, dtype=tensor.dtype, device=device)
            tensor.data = view.set_(to, start, tensor.size(), tensor.stride())  # type: ignore[call-overload]  # torch's stubs name no storage that it gives


def _kept(store: Store, key: str, blocks: Mapping[int, _Block]) -> Path:
    return store.get(key, lambda folder: _write(folder / DATA, blocks.values())) / DATA


def _total(blocks: Mapping[int, _Block]) -> int:
    return sum(block.content.nbytes for block in blocks.values())


def _end(blocks: Mapping[int, _Block]) -> int:
    """Return the bytes of the file of these blocks."""
    return max(block.offset + block.content.nbytes for block in blocks.values())


def _movable(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the plain tensors in main memory; what subclasses keep is their own business."""
    import torch  # noqa: PLC0415  # as above

    for tensor in tensors:
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if plain and tensor.device.type == "cpu" and not tensor.is_quantized:
            yield tensor


def _blocks(tensors: Sequence[Tensor], counts: Callable[[int, int], bool]) -> dict[int, _Block]:
    """Return the storages that count, by address; tensors may share one. `counts` is told address and bytes."""
    import torch  # noqa: PLC0415  # as above

    blocks: dict[int, _Block] = {}
    end = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address in blocks or not storage.nbytes() or not counts(address, storage.nbytes()):
            continue
        content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy().data
        blocks[address] = _Block(address, content, end)
        end += -(-content.nbytes // ALIGNMENT) * ALIGNMENT
    return blocks


def _key(blocks: Mapping[int, _Block]) -> str:
    digest = hashlib.sha256()
    for block in blocks.values():
        digest.update(block.content.nbytes.to_bytes(8))
        digest.update(block.content)
    return f"torch-{digest.hexdigest()[:32]}"


def _write(path: Path, blocks: Iterable[_Block]) -> None:
    with path.open("wb") as file:
        for block in blocks:
            file.seek(block.offset)
            file.write(block.content)


def _is_private(address: int, nbytes: int) -> bool:
    """Whether most of this memory is of this process alone, and in no file; unknown counts as private."""
    first, behind = address // mmap.PAGESIZE, -(-(address + nbytes) // mmap.PAGESIZE)
    try:
        with Path("/proc/self/pagemap").open("rb") as file:
            file.seek(first * _PAGEMAP_ENTRY)
            pages = np.frombuffer(file.read((behind - first) * _PAGEMAP_ENTRY), np.uint64)
    except OSError:
        return True
    own = (pages & (_EXCLUSIVE | _OF_A_FILE | _PRESENT)) == (_EXCLUSIVE | _PRESENT)
    return int(np.count_nonzero(own)) * 2 > len(pages)
