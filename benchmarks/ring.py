"""The least that a hand-over between processes costs: a bare ring in shared memory with a doorbell.

The yardstick for our own hops, in the same language and on the same topology: a parent on uvloop, blocking
workers, one prefaulted memfd per writer, 40-byte descriptors over socketpairs. It has no values, no queue, no
deadline, no accounting and no recovery; all of that is what the ratio to it pays for.
"""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import uvloop

from benchmarks import machine, processes

DESCRIPTOR = struct.Struct("<5Q")  # ring, slot, bytes, generation, call: as much as a real descriptor says
SLOTS = 8
WARM_UP = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One round trip: `p50` and `cpu` (parent and workers together) in seconds."""

    p50: float
    cpu: float


class Ring:
    """Equal slots in a memfd, prefaulted, written in turn by one process and read in place by the others."""

    def __init__(self, nbytes: int) -> None:
        size = SLOTS * max(nbytes, mmap.PAGESIZE)
        self._stride = size // SLOTS
        descriptor = os.memfd_create("ring")
        os.ftruncate(descriptor, size)
        self._memory = mmap.mmap(descriptor, size, mmap.MAP_SHARED | mmap.MAP_POPULATE)
        os.close(descriptor)
        self._next = 0

    def view(self, slot: int, nbytes: int) -> np.ndarray:
        """Return a slot as float32, without a copy."""
        return np.frombuffer(self._memory, np.float32, nbytes // 4, slot * self._stride)

    def write(self, values: np.ndarray) -> int:
        """Copy an array into the next slot and return its number."""
        slot, self._next = self._next, (self._next + 1) % SLOTS
        np.copyto(self.view(slot, values.nbytes), values)
        return slot


def echo(nbytes: int, repeats: int, cores: tuple[int, int]) -> Cost:
    """Time payload to a worker and payload back: two copies, two doorbells, so two hops."""
    with _workers(nbytes, count=1, cores=cores, last_answers=True) as (rings, doorbells, pids):
        payload = np.ones(nbytes // 4, np.float32)

        def start() -> bytes:
            return DESCRIPTOR.pack(0, rings[0].write(payload), nbytes, 0, 0)

        def end(message: bytes) -> None:
            ring, slot, size, _, _ = DESCRIPTOR.unpack(message)
            rings[ring].view(slot, size)[0]

        return _timed(_Chain(doorbells, start, end), repeats, pids)


def relay(nbytes: int, repeats: int, cores: tuple[int, int], *, hops: int) -> Cost:
    """Time one hop worker -> parent -> worker: one copy, two doorbells, as between two groups.

    A chain of `hops` hand-overs is timed beside a chain without one; the difference, per hop, is the cost.
    """
    costs = []
    for count in (1, hops + 1):
        with _workers(nbytes, count=count, cores=cores, last_answers=False) as (rings, doorbells, pids):
            first = DESCRIPTOR.pack(0, rings[0].write(np.ones(nbytes // 4, np.float32)), nbytes, 0, 0)
            costs.append(_timed(_Chain(doorbells, lambda first=first: first, lambda _: None), repeats, pids))
    alone, chained = costs
    return Cost(p50=(chained.p50 - alone.p50) / hops, cpu=(chained.cpu - alone.cpu) / hops)


class _Chain:
    """The parent: hands a descriptor from doorbell to doorbell, over and over."""

    def __init__(self, doorbells: Sequence[socket.socket], start, end) -> None:
        self._doorbells = doorbells
        self._start, self._end = start, end
        self._times: list[float] = []
        self._left = 0
        self._begun = 0.0
        self._over = asyncio.Event()

    async def run(self, repeats: int) -> list[float]:
        """Return the seconds that each passage took."""
        self._times, self._left = [], repeats
        self._over.clear()
        loop = asyncio.get_running_loop()
        for index, doorbell in enumerate(self._doorbells):
            loop.add_reader(doorbell, self._rung, index)
        self._begin()
        await self._over.wait()
        for doorbell in self._doorbells:
            loop.remove_reader(doorbell)
        return self._times

    def _begin(self) -> None:
        self._begun = time.perf_counter()
        self._doorbells[0].send(self._start())

    def _rung(self, index: int) -> None:
        message = self._doorbells[index].recv(DESCRIPTOR.size)
        if index + 1 < len(self._doorbells):
            self._doorbells[index + 1].send(message)
            return
        self._end(message)
        self._times.append(time.perf_counter() - self._begun)
        self._left -= 1
        if self._left:
            self._begin()
        else:
            self._over.set()


def _timed(chain: _Chain, repeats: int, pids: list[int]) -> Cost:
    async def measure() -> Cost:
        await chain.run(WARM_UP)
        before = processes.cpu_seconds(pids)
        times = sorted(await chain.run(repeats))
        return Cost(p50=times[repeats // 2], cpu=(processes.cpu_seconds(pids) - before) / repeats)

    return uvloop.run(measure())


@contextmanager
def _workers(
    nbytes: int, *, count: int, cores: tuple[int, int], last_answers: bool
) -> Iterator[tuple[list[Ring], list[socket.socket], list[int]]]:
    """Give rings (0 is the parent's), the parent's ends of the doorbells, and all process ids."""
    allowed = os.sched_getaffinity(0)
    rings = [Ring(nbytes) for _ in range(count + 1)]
    pairs = [socket.socketpair() for _ in range(count)]
    fork = multiprocessing.get_context("fork")
    children = []
    for index, (ours, theirs) in enumerate(pairs):
        writes = last_answers or index < count - 1
        child = fork.Process(
            target=_work, args=(theirs, rings, index + 1, writes, [pair[0] for pair in pairs])
        )
        child.start()
        machine.pin([child.pid], cores[1])
        theirs.close()
        ours.setblocking(False)
        children.append(child)
    machine.pin([os.getpid()], cores[0])
    try:
        yield rings, [ours for ours, _ in pairs], [os.getpid(), *(child.pid for child in children)]
    finally:
        for ours, _ in pairs:
            ours.close()
        for child in children:
            child.join()
        os.sched_setaffinity(0, allowed)


def _work(
    doorbell: socket.socket, rings: list[Ring], own: int, writes: bool, others: list[socket.socket]
) -> None:
    for other in others:
        other.close()
    while message := doorbell.recv(DESCRIPTOR.size):
        ring, slot, nbytes, generation, call = DESCRIPTOR.unpack(message)
        values = rings[ring].view(slot, nbytes)
        if writes:
            ring, slot = own, rings[own].write(values)
        doorbell.send(DESCRIPTOR.pack(ring, slot, nbytes, generation, call))
