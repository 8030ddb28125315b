"""Shared memory between the front and its replicas: anonymous files, their mappings, and writing into them.

A segment has no name, so it goes with its last process and none can attach to it uninvited. It is sealed
against a change of its length, so that reading a mapping never faults, and its memory is taken when it is
made, so that a full machine refuses here and not in the middle of a write.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable

from regrain.lazy_numpy import np
from regrain.wire.frames import Extent, FrameError, Leaf

ALIGNMENT = 64
"""Bytes to which every placed value is aligned: a cache line, and enough for any dtype and vector load."""
GROWTH = 1 << 20
"""Bytes up to which a writer asks for twice what it had: a dispatch of many values asks a few times."""
KEPT = 4
"""Extents with room left that a writer looks at before it asks for another."""


def create(nbytes: int) -> int:
    """Return the descriptor of a new segment; OSError if the system refuses it.

    It takes all of its memory at once, so the caller sees to it that there is so much.
    """
    descriptor = os.memfd_create("regrain", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.posix_fallocate(descriptor, 0, nbytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def reopen_readonly(descriptor: int) -> int:
    """Return another descriptor of a segment, by which it can be mapped only for reading."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)


class Mappings:
    """The segments that this process has mapped, by id. Where values are read from (a codec.Source)."""

    def __init__(self) -> None:
        self._readable: dict[int, memoryview] = {}
        self._writable: dict[int, memoryview] = {}

    def add(self, segment: int, descriptor: int, nbytes: int, writable: bool) -> None:
        """Map a segment. The descriptor stays the caller's, who may close it at once.

        Raises:
            FrameError: the id is taken, or the descriptor holds fewer bytes.
            OSError: it cannot be mapped (such as writable by a read-only descriptor).
        """
        if segment in self._readable:
            raise FrameError(f"segment {segment} is mapped already")
        prot = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        try:
            mapped = mmap.mmap(descriptor, nbytes, mmap.MAP_SHARED | mmap.MAP_POPULATE, prot)
        except ValueError as error:
            raise FrameError(f"segment {segment} does not hold {nbytes} bytes: {error}") from error
        view = memoryview(mapped)
        self._readable[segment] = view.toreadonly()
        if writable:
            self._writable[segment] = view

    def drop(self, segment: int) -> None:
        """Forget a segment; it stays mapped for as long as views of it live. FrameError if there is none."""
        if self._readable.pop(segment, None) is None:
            raise FrameError(f"segment {segment} is not mapped")
        self._writable.pop(
            segment, None
        )  # never close() it: an array refers to a mapping without holding it open

    def close(self) -> None:
        """Forget every segment."""
        for segment in list(self._readable):
            self.drop(segment)

    def __contains__(self, segment: int) -> bool:
        return segment in self._readable

    def address(self, leaf: Leaf) -> int:
        """Return where in this process' memory a leaf begins; FrameError if its segment is not mapped."""
        whole = self._readable.get(leaf.segment)
        if whole is None:
            raise FrameError(f"segment {leaf.segment} is not mapped")
        start: int = np.frombuffer(whole, np.uint8).__array_interface__["data"][0]
        return start + leaf.offset

    def view(self, segment: int, offset: int, nbytes: int) -> memoryview:
        """Return a read-only view of exactly these bytes; FrameError if they are not in a mapped segment."""
        return _cut(self._readable, segment, offset, nbytes)

    def writable_view(self, extent: Extent) -> memoryview:
        """Return a view to write an extent by; FrameError if it is in no segment mapped for writing."""
        return _cut(self._writable, extent.segment, extent.offset, extent.nbytes)


def _cut(views: dict[int, memoryview], segment: int, offset: int, nbytes: int) -> memoryview:
    whole = views.get(segment)
    if whole is None:
        raise FrameError(f"segment {segment} is not mapped, or not so")
    if offset < 0 or nbytes < 0 or offset + nbytes > len(whole):
        raise FrameError(f"bytes {offset} to {offset + nbytes} of segment {segment}, it has {len(whole)}")
    return whole[offset : offset + nbytes]


class _Room:
    """What is left of an extent."""

    __slots__ = ("extent", "start", "view")

    def __init__(self, extent: Extent, view: memoryview) -> None:
        self.extent = extent
        self.view = view
        self.start = 0


class Writer:
    """Places values one after another in the extents granted to a dispatch (a codec.Sink).

    `need(nbytes)` is asked for a further extent when none has room; what it raises comes out of `place`.
    `given` tells the leaves that were read for this dispatch: what is handed on as it came is not written again.
    """

    def __init__(
        self,
        mappings: Mappings,
        extents: list[Extent],
        need: Callable[[int], Extent],
        given: Callable[[], Iterable[Leaf]] = tuple,
    ) -> None:
        self._mappings = mappings
        self._need = need
        self._given = given
        self._known: dict[int, Leaf] | None = None
        self._rooms = [_Room(extent, mappings.writable_view(extent)) for extent in extents]
        self.extents = list(extents)
        """Every extent that it was given, those from `need` included."""

    def place(self, nbytes: int) -> tuple[memoryview, int, int, int]:
        """Return a writable view of exactly `nbytes`, and its segment, offset and generation."""
        for room in self._rooms:
            if room.start + nbytes <= room.extent.nbytes:
                return self._take(room, nbytes)
        return self._take(self._grow(nbytes), nbytes)

    def find(self, address: int, nbytes: int) -> tuple[int, int, int] | None:
        """Return segment, offset and generation of a given leaf that begins there and is as long; None if none does."""
        if self._known is None:
            self._known = {self._mappings.address(leaf): leaf for leaf in self._given() if leaf.segment >= 0}
        leaf = self._known.get(address)
        if leaf is None or leaf.nbytes < nbytes:
            return None
        return leaf.segment, leaf.offset, leaf.generation

    def _take(self, room: _Room, nbytes: int) -> tuple[memoryview, int, int, int]:
        start = room.start
        room.start = start + nbytes + -nbytes % ALIGNMENT
        extent = room.extent
        return room.view[start : start + nbytes], extent.segment, extent.offset + start, extent.generation

    def _grow(self, nbytes: int) -> _Room:
        had = sum(extent.nbytes for extent in self.extents)
        extent = self._need(max(nbytes, min(had, GROWTH)))
        if extent.nbytes < nbytes:
            raise FrameError(f"an extent of {extent.nbytes} bytes was granted where {nbytes} were needed")
        self.extents.append(extent)
        room = _Room(extent, self._mappings.writable_view(extent))
        fullest = sorted(self._rooms, key=lambda other: other.start - other.extent.nbytes)
        self._rooms = [room, *fullest[: KEPT - 1]]
        return room
