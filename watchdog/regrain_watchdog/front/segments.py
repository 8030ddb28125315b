"""The front's pool of shared memory: who may write where, who still reads what, and what goes back.

The front alone allocates, in its own heap, so no lock and no count lives in shared memory and no replica's
death or mistake can harm the books. An extent is granted to a writer, committed with the number of its
references, and free when the last of them is released. The extents of a segment have one size and one owner,
for a replica may write to its own alone; a generation names one life of an extent and is never used twice.
"""

from __future__ import annotations

import contextlib
import logging
import os
from dataclasses import dataclass
from http import HTTPStatus
from itertools import count

from regrain.errors import RequestError, SpecError
from regrain.wire import segments
from regrain.wire.arrays import NOWHERE
from regrain.wire.frames import Extent, FrameError, Leaf

logger = logging.getLogger(__name__)

FRONT = 0
"""The owner of what the front itself writes."""
SMALLEST = 1 << 14
"""Bytes of the smallest size class; each further one is twice as large."""
SEGMENT = 1 << 20
"""Bytes of a segment whose extents are no larger: small ones share its descriptors and its mapping."""
RETRY_AFTER = 1
"""Seconds after which memory may be free again: about as long as the slowest requests in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment, cut into extents of `extent` bytes; the pool closes its descriptors."""

    id: int
    nbytes: int
    owner: int
    extent: int
    fd: int
    readonly_fd: int


@dataclass(slots=True)
class _Life:
    """An extent from its grant to its last release."""

    extent: Extent
    owner: int
    committed: bool = False
    references: int = 0


class Pool:
    """The segments of one front, `limit` bytes at most; also where the front reads from (a codec.Source)."""

    def __init__(self, limit: int) -> None:
        if limit < SEGMENT:
            raise SpecError(f"the limit on shared memory must be at least {SEGMENT} bytes, was {limit}")
        self.limit = limit
        self.mappings = segments.Mappings()
        """What the front has mapped: its own segments for writing, a replica's once it was read."""
        self.in_use = 0
        """Bytes of the extents that are granted or referenced."""
        self.held = 0
        """Bytes of all segments."""
        self._segments: dict[int, Segment] = {}
        self._lives: dict[int, _Life] = {}
        self._occupied: dict[int, int] = {}  # segment -> extents that live in it
        self._idle: dict[int, None] = {}  # segments in which none lives, longest idle first
        self._free: dict[
            tuple[int, int], list[tuple[int, int]]
        ] = {}  # (owner, size) -> (segment, offset), warmest last
        self._retired: set[int] = set()  # segments of owners that are gone
        self._dropped: list[int] = []
        self._ids = count(1)
        self._generations = count(1)

    def grant(self, owner: int, nbytes: int) -> Extent:
        """Return an extent of at least `nbytes` that `owner` may write, until it is committed.

        Raises:
            RequestError: (503) no memory is free, now or (without Retry-After) under this limit at all.
        """
        size = max(SMALLEST, 1 << max(nbytes - 1, 0).bit_length())
        free = self._free.setdefault((owner, size), [])
        if not free:
            self._add_segment(owner, size)
        segment, offset = free.pop()
        extent = Extent(segment, offset, size, next(self._generations))
        self._lives[extent.generation] = _Life(extent, owner)
        self._occupied[segment] += 1
        self._idle.pop(segment, None)
        self.in_use += size
        return extent

    def writer(self) -> segments.Writer:
        """Return a sink for one value of the front's own; its `extents` are then to be committed."""
        return segments.Writer(self.mappings, [], lambda nbytes: self.grant(FRONT, nbytes))

    def commit(self, extent: Extent, references: int) -> None:
        """End the writing of an extent, which `references` readers now hold; with none it is free at once.

        Raises:
            ValueError: it is not granted, was committed before, or the count is negative.
        """
        life = self._lives.get(extent.generation)
        if life is None or life.committed or life.extent != extent or references < 0:
            raise ValueError(f"{extent} cannot be committed to {references} readers: {life}")
        life.committed = True
        life.references = references
        if references == 0:
            self._end(life)

    def retain(self, generation: int) -> None:
        """Hold a committed extent once more; ValueError if there is none of that generation."""
        self._committed(generation).references += 1

    def release(self, generation: int) -> None:
        """Give back one reference, the last of which frees the extent; ValueError if none is held."""
        life = self._committed(generation)
        life.references -= 1
        if life.references == 0:
            self._end(life)

    def owns(self, owner: int, leaf: Leaf) -> bool:
        """Whether a leaf that `owner` sent lies in an extent that it may write now, or rides inline."""
        if leaf.segment == NOWHERE:
            return leaf.nbytes == len(leaf.inline)
        life = self._lives.get(leaf.generation)
        if life is None or life.committed or life.owner != owner or life.extent.segment != leaf.segment:
            return False
        start = life.extent.offset
        return start <= leaf.offset <= leaf.offset + leaf.nbytes <= start + life.extent.nbytes

    def retire(self, owner: int) -> None:
        """End an owner that is gone: what it was writing is freed, what is referenced stays until released.

        Its id is not to be used again.
        """
        for key in [key for key in self._free if key[0] == owner]:
            del self._free[key]
        theirs = [segment.id for segment in self._segments.values() if segment.owner == owner]
        self._retired.update(theirs)
        for life in [life for life in self._lives.values() if life.owner == owner and not life.committed]:
            self._end(life)
        for segment in theirs:
            if segment in self._idle:
                self._drop(segment)

    def segment(self, segment: int) -> Segment:
        """Return a segment of the pool; KeyError if it has none of that id (any more)."""
        return self._segments[segment]

    def view(self, segment: int, offset: int, nbytes: int) -> memoryview:
        """Return a read-only view, good until the extent's last release; FrameError outside of the pool."""
        if segment not in self.mappings:
            found = self._segments.get(segment)
            if found is None:
                raise FrameError(f"segment {segment} is not in the pool")
            self.mappings.add(segment, found.readonly_fd, found.nbytes, writable=False)
        return self.mappings.view(segment, offset, nbytes)

    def take_dropped(self) -> list[int]:
        """Return the segments that went since this was asked last; whoever maps them should drop them."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def close(self) -> None:
        """Give everything back, whoever still holds it."""
        for segment in list(self._segments):
            self._drop(segment)
        self._lives.clear()
        self._free.clear()
        self.in_use = 0

    def _committed(self, generation: int) -> _Life:
        life = self._lives.get(generation)
        if life is None or not life.committed:
            raise ValueError(f"generation {generation} is not committed, or was freed")
        return life

    def _end(self, life: _Life) -> None:
        extent = life.extent
        del self._lives[extent.generation]
        self.in_use -= extent.nbytes
        self._occupied[extent.segment] -= 1
        retired = extent.segment in self._retired
        if not retired:
            self._free[life.owner, extent.nbytes].append((extent.segment, extent.offset))
        if self._occupied[extent.segment] == 0:
            self._idle[extent.segment] = None
            if retired:
                self._drop(extent.segment)

    def _add_segment(self, owner: int, size: int) -> None:
        nbytes = max(SEGMENT, size)
        self._make_room(nbytes)
        try:
            made = self._create(owner, size, nbytes)
        except OSError as error:
            logger.warning("no shared memory from the system", extra={"nbytes": nbytes, "reason": str(error)})
            raise _no_memory(f"the system gives no {nbytes} bytes of shared memory") from error
        self._segments[made.id] = made
        self._occupied[made.id] = 0
        self._idle[made.id] = None
        self.held += nbytes
        self._free[owner, size].extend((made.id, offset) for offset in range(nbytes - size, -1, -size))

    def _create(self, owner: int, size: int, nbytes: int) -> Segment:
        segment = next(self._ids)
        with contextlib.ExitStack() as undo:
            fd = segments.create(nbytes)
            undo.callback(os.close, fd)
            readonly_fd = segments.reopen_readonly(fd)
            undo.callback(os.close, readonly_fd)
            if owner == FRONT:
                self.mappings.add(segment, fd, nbytes, writable=True)
            undo.pop_all()
        return Segment(id=segment, nbytes=nbytes, owner=owner, extent=size, fd=fd, readonly_fd=readonly_fd)

    def _make_room(self, nbytes: int) -> None:
        """Drop segments, longest idle first, until another of `nbytes` fits."""
        if nbytes > self.limit:
            detail = f"{nbytes} bytes are needed for one value, the limit on shared memory is {self.limit}"
            raise RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail)
        idle = sum(self._segments[segment].nbytes for segment in self._idle)
        if self.held - idle + nbytes > self.limit:
            raise _no_memory(f"all {self.limit} bytes of shared memory are in use")
        while self.held + nbytes > self.limit:
            self._drop(next(iter(self._idle)))

    def _drop(self, segment: int) -> None:
        gone = self._segments.pop(segment)
        free = self._free.get((gone.owner, gone.extent))
        if free is not None:
            free[:] = [place for place in free if place[0] != segment]
        del self._occupied[segment]
        self._idle.pop(segment, None)
        self._retired.discard(segment)
        if segment in self.mappings:
            self.mappings.drop(segment)
        os.close(gone.fd)
        os.close(gone.readonly_fd)
        self.held -= gone.nbytes
        self._dropped.append(segment)


def _no_memory(detail: str) -> RequestError:
    return RequestError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(RETRY_AFTER)})
