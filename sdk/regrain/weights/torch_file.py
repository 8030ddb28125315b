"""Move the weights of a torch module into a file that all replicas map, whatever the module was built from.

Eager torch computes with weights as they lie in memory, so a mapping is as good as a heap. The file is named by
a hash of what the module holds: it is right for modules from a seed, from TorchScript and from any loader. What
others see already (a file mapped by torch.load or safetensors, a module built before the zygote forked) stays.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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

    tensors = list(_movable(module))
    blocks = _blocks(tensors)
    total = sum(block.content.nbytes for block in blocks.values())
    if total < max(1, least):
        return False
    folder = store.get(_key(blocks.values()), lambda folder: _write(folder / DATA, blocks.values()))
    end = max(block.offset + block.content.nbytes for block in blocks.values())
    mapped = torch.UntypedStorage.from_file(str(folder / DATA), False, end)
    for tensor in tensors:
        block = blocks.get(tensor.untyped_storage().data_ptr())
        if block is not None:
            start = block.offset // tensor.itemsize + tensor.storage_offset()
            view = torch.empty(0, dtype=tensor.dtype)
            tensor.data = view.set_(mapped, start, tensor.size(), tensor.stride())  # type: ignore[arg-type]  # torch's stubs name another class
    return True


def _movable(module: Module) -> Iterator[Tensor]:
    """Yield the plain tensors in main memory; what subclasses keep is their own business."""
    import torch  # noqa: PLC0415  # as above

    for tensor in chain(module.parameters(), module.buffers()):
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if plain and tensor.device.type == "cpu" and not tensor.is_quantized:
            yield tensor


def _blocks(tensors: Sequence[Tensor]) -> dict[int, _Block]:
    """Return the storages that are this process's own, by address; tensors may share one."""
    import torch  # noqa: PLC0415  # as above

    blocks: dict[int, _Block] = {}
    end = 0
    for tensor in tensors:
        storage = tensor.untyped_storage()
        address = storage.data_ptr()
        if address in blocks or not storage.nbytes() or not _is_private(address, storage.nbytes()):
            continue
        content = torch.empty(0, dtype=torch.uint8).set_(storage).numpy().data
        blocks[address] = _Block(address, content, end)
        end += -(-content.nbytes // ALIGNMENT) * ALIGNMENT
    return blocks


def _key(blocks: Iterable[_Block]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
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
