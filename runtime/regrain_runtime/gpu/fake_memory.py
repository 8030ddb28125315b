# ruff: noqa: N802 - named as NVIDIA names them: that is the point
"""A device's memory that is not there: the fake driver's calls for memory that several processes map.

A device's memory is files in a folder, so that real processes see the same bytes as they would on a GPU; an address is
where a file is mapped in this process. It knows the rules that the holder stands on: no process maps its own memory or
the same twice, room is limited, and what was freed cannot be mapped any more.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
from dataclasses import dataclass, field
from pathlib import Path

from regrain_runtime.gpu.fake import CUresult, FakeCuda

HANDLE = 64


class IpcHandle:
    """CUipcMemHandle, opaque to all but the driver: here the name of a file."""

    def __init__(self) -> None:
        self.room = ctypes.create_string_buffer(HANDLE)

    def getPtr(self) -> int:
        """Return where its bytes are."""
        return ctypes.addressof(self.room)


@dataclass(slots=True)
class _Mapping:
    """A file of the folder, mapped here."""

    name: bytes
    pages: mmap.mmap
    room: ctypes.Array[ctypes.c_char]

    def end(self) -> None:
        """Unmap it."""
        del self.room
        self.pages.close()


@dataclass(slots=True, kw_only=True)
class FakeMemory(FakeCuda):
    """The driver of cards whose memory is files in `folder`, shared by all processes that are given the same.

    Attributes:
        folder: a file for each allocation.
        own: what this process has allocated, by address.
        mapped: what it has mapped of others.
    """

    folder: Path
    own: dict[int, _Mapping] = field(default_factory=dict)
    mapped: dict[int, _Mapping] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    CUipcMemHandle = IpcHandle

    def cuMemAlloc(self, nbytes: int) -> tuple[CUresult, int]:
        """Allocate memory."""
        code = self._code("cuMemAlloc")
        if (
            not code
            and nbytes + sum(file.stat().st_size for file in self.folder.iterdir()) > self.cards[0].memory
        ):
            code = CUresult.CUDA_ERROR_OUT_OF_MEMORY
        if code:
            return code, 0
        name = f"{os.getpid()}-{next(self._numbers)}".encode()
        with (self.folder / name.decode()).open("xb") as file:
            file.truncate(nbytes)
        return code, self._map(name, self.own)

    def cuMemFree(self, address: int) -> tuple[CUresult]:
        """Free it; whoever has it mapped is left with pages that nobody else sees."""
        code = self._code("cuMemFree")
        if address not in self.own:
            return (code or CUresult.CUDA_ERROR_INVALID_VALUE,)
        freed = self.own.pop(address)
        (self.folder / freed.name.decode()).unlink()
        freed.end()
        return (code,)

    def cuMemcpyHtoD(self, address: int, data: mmap.mmap, nbytes: int) -> tuple[CUresult]:
        """Copy bytes to it."""
        code = self._code("cuMemcpyHtoD")
        if not code and (address not in self.own or nbytes > len(self.own[address].pages)):
            code = CUresult.CUDA_ERROR_INVALID_VALUE
        if not code:
            self.own[address].pages[:nbytes] = data[:nbytes]
        return (code,)

    def cuIpcGetMemHandle(self, address: int) -> tuple[CUresult, IpcHandle]:
        """Return the handle of an allocation."""
        code = self._code("cuIpcGetMemHandle")
        handle = IpcHandle()
        if address in self.own:
            handle.room.value = self.own[address].name
        return code or (
            CUresult.CUDA_SUCCESS if address in self.own else CUresult.CUDA_ERROR_INVALID_VALUE
        ), handle

    def cuIpcOpenMemHandle(self, handle: IpcHandle, flags: int) -> tuple[CUresult, int]:
        """Map another process's allocation."""
        code = self._code("cuIpcOpenMemHandle")
        name = handle.room.value
        if not code:
            if flags != 1 or not name or not (self.folder / name.decode()).is_file():
                code = CUresult.CUDA_ERROR_INVALID_VALUE
            elif any(name == one.name for one in self.own.values()):
                code = CUresult.CUDA_ERROR_INVALID_CONTEXT
            elif any(name == one.name for one in self.mapped.values()):
                code = CUresult.CUDA_ERROR_ALREADY_MAPPED
        return (code, 0) if code else (code, self._map(name, self.mapped))

    def cuIpcCloseMemHandle(self, address: int) -> tuple[CUresult]:
        """Unmap it."""
        code = self._code("cuIpcCloseMemHandle")
        if address not in self.mapped:
            return (code or CUresult.CUDA_ERROR_INVALID_VALUE,)
        self.mapped.pop(address).end()
        return (code,)

    def _map(self, name: bytes, among: dict[int, _Mapping]) -> int:
        with (self.folder / name.decode()).open("r+b") as file:
            pages = mmap.mmap(file.fileno(), 0)
        room = (ctypes.c_char * len(pages)).from_buffer(pages)
        address = ctypes.addressof(room)
        among[address] = _Mapping(name, pages, room)
        return address
