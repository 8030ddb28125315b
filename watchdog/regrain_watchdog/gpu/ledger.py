"""Who holds how much of a device's memory, by declaration and as seen, so that it is never promised twice.

A dead process is not free memory: the driver takes back what it held when its files are closed, which for gigabytes of
pinned memory takes many seconds. What a client declared stays in quarantine until an observation agrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from regrain.wire.lease import LeaseError
from regrain_watchdog.words import size


@dataclass(frozen=True, slots=True)
class Holding:
    """Bytes of a process, for a function."""

    name: str
    pid: int
    nbytes: int


class Ledger:
    """The memory of one device, in bytes, of which `reserve` is never given.

    A process is taken to hold what it declared and what is in quarantine for it, or what was seen if that is more; so
    is a process that declared nothing (a stranger). The holder of weights declares nothing either, and holds what its
    borrowers declare as if it were theirs: it counts as far as it is seen to hold more than clients leave of that.
    """

    def __init__(self, total: int, reserve: int = 0) -> None:
        self.capacity = total - reserve
        self._declared: dict[int, Holding] = {}
        self._quarantined: dict[tuple[int, str], int] = {}
        self._seen: dict[int, int] = {}
        self._holder = 0

    @property
    def free(self) -> int:
        """Bytes that may still be declared; below 0 where processes hold more than they said."""
        others = self._pids() - {self._holder}
        return self.capacity - sum(map(self._held, others)) - self.unclaimed

    def declare(self, client: int, name: str, pid: int, nbytes: int) -> None:
        """Put down what a client holds at most, instead of what it declared before; LeaseError if that is too much."""
        before = self._declared.pop(client, None)
        kept = self.free
        self._declared[client] = Holding(name, pid, nbytes)
        if (before is None or nbytes > before.nbytes) and self.free < 0:
            del self._declared[client]
            holders = "; ".join(self._describe()) or "nobody"
            if before is not None:
                self._declared[client] = before
            raise LeaseError(
                f"{name} wants {size(nbytes)} of GPU memory, {size(max(kept, 0))} of {size(self.capacity)} is free; "
                f"held by: {holders}"
            )

    def give_up(self, client: int) -> None:
        """Put what a client declared into quarantine: it, or its process, is gone."""
        held = self._declared.pop(client)
        if held.nbytes:
            key = (held.pid, held.name)
            self._quarantined[key] = self._quarantined.get(key, 0) + held.nbytes

    def strike_out(self, client: int) -> None:
        """Forget what a client declared; its process declares it anew, or never used it."""
        del self._declared[client]

    def observe(self, used: Mapping[int, int], holder: int = 0) -> None:
        """Take an observation of the device: bytes by process, made after all that was told before.

        holder: the process that holds weights for clients, 0 for none.
        Quarantine shrinks to what a process is still seen to hold beyond what it declares.
        """
        self._holder = holder
        self._seen = {pid: nbytes for pid, nbytes in used.items() if nbytes > 0}
        left = {pid: max(0, self._seen.get(pid, 0) - self._promised(pid)) for pid, _ in self._quarantined}
        for key, nbytes in list(self._quarantined.items()):
            kept = min(nbytes, left[key[0]])
            left[key[0]] -= kept
            if kept:
                self._quarantined[key] = kept
            else:
                del self._quarantined[key]

    def declared_by(self, name: str) -> int:
        """Return the bytes that the clients of a function declare."""
        return sum(held.nbytes for held in self._declared.values() if held.name == name)

    def seen_of(self, name: str) -> int:
        """Return the bytes that the processes of a function were seen to hold."""
        pids = {held.pid for held in self._declared.values() if held.name == name}
        return sum(self._seen.get(pid, 0) for pid in pids)

    def quarantined_of(self, name: str) -> int:
        """Return the bytes in quarantine for a function."""
        return sum(nbytes for (_, whose), nbytes in self._quarantined.items() if whose == name)

    def held_by(self, name: str) -> int:
        """Return the bytes that the processes of a function hold, each what counts of it.

        What one of several functions is seen to hold beyond its word is the first one's.
        """
        first = dict(self._quarantined.keys())
        first |= {held.pid: held.name for held in reversed(self._declared.values())}
        excess = sum(self._held(pid) - self._told(pid) for pid, whose in first.items() if whose == name)
        return self.declared_by(name) + self.quarantined_of(name) + excess

    @property
    def unclaimed(self) -> int:
        """Bytes of the holder of weights that no clients can have declared; new ones may declare them as theirs."""
        clients = {held.pid for held in self._declared.values()}
        unseen = sum(max(0, self._promised(pid) - self._seen.get(pid, 0)) for pid in clients)
        return max(0, self._seen.get(self._holder, 0) - unseen)

    @property
    def quarantined(self) -> int:
        """Bytes in quarantine: while there are any, the device is worth looking at again."""
        return sum(self._quarantined.values())

    def _pids(self) -> set[int]:
        return {
            *(held.pid for held in self._declared.values()),
            *(pid for pid, _ in self._quarantined),
            *self._seen,
        }

    def _promised(self, pid: int) -> int:
        return sum(held.nbytes for held in self._declared.values() if held.pid == pid)

    def _told(self, pid: int) -> int:
        waiting = sum(nbytes for (whose, _), nbytes in self._quarantined.items() if whose == pid)
        return self._promised(pid) + waiting

    def _held(self, pid: int) -> int:
        return max(self._told(pid), self._seen.get(pid, 0))

    def _describe(self) -> Iterator[str]:
        clients = {held.pid for held in self._declared.values()}
        gone = {pid for pid, _ in self._quarantined}
        for held in self._declared.values():
            if held.nbytes:
                yield f"{held.name} (process {held.pid}) {size(held.nbytes)}"
        for (pid, name), nbytes in self._quarantined.items():
            yield f"{name} (process {pid}, which is gone) {size(nbytes)}"
        for pid in sorted(clients - gone):
            excess = self._seen.get(pid, 0) - self._promised(pid)
            if excess > 0:
                yield f"process {pid} {size(excess)} beyond what it declared"
        if unclaimed := self.unclaimed:
            yield f"the holder of weights (process {self._holder}) {size(unclaimed)} beyond what clients declare"
        for pid in sorted(self._seen.keys() - clients - gone - {self._holder}):
            yield f"process {pid}, which is no client, {size(self._seen[pid])}"
