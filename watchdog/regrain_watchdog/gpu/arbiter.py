"""Share one GPU: who may use how many SMs now, for how long, and how much memory each may hold.

A state machine without clock or I/O: what happens is told with the time it happens at, and `schedule(now)` says what is
to be done. The server around it (gpu/server.py) calls `schedule` after everything it tells, and again at `wake(now)`.

Leases are promises among processes that keep them: no kernel is interrupted. What is held beyond its time is charged,
its holder told if others wait, and ended if it does not react. The SMs of a process that vanished are free once it is
`gone`, its memory once an observation agrees (gpu/ledger.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, Share
from regrain_watchdog.gpu.account import Accounts
from regrain_watchdog.gpu.entitlement import Entitlement
from regrain_watchdog.gpu.expectation import Expectation
from regrain_watchdog.gpu.fairness import Fairness
from regrain_watchdog.gpu.ledger import Ledger
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.line import Line
from regrain_watchdog.gpu.members import Client, Lease, Waiting
from regrain_watchdog.words import duration

ROUNDING = 1e-6
"""Of an SM: what a share may lack for a whole one, as 0.07 x 100 does in floating point."""

PAGE = 200
"""Leases that are recalled at once: with names of MAX_NAME characters they and 100 that run fit into a frame."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Send this to a client."""

    client: int
    frame: wire.Granted | wire.Refused | wire.Revoked


@dataclass(frozen=True, slots=True)
class End:
    """End the process of a client: it holds what others wait for, and was told."""

    client: int
    reason: str


Decision = Tell | End


class Arbiter:
    """The arbiter of one device.

    epoch: higher than that of any arbiter of this device before. opens: no lease is granted before, so that what an
    arbiter before this one granted has come to its end.
    """

    def __init__(
        self, device: Device, *, epoch: int, limits: Limits | None = None, opens: float = 0.0
    ) -> None:
        self.device = device
        self.epoch = epoch
        self.limits = limits or Limits()
        self.ledger = Ledger(device.memory, device.reserve)
        self._history: deque[wire.Hold] = deque(maxlen=self.limits.history)
        self._opens = opens
        self._clients: dict[int, Client] = {}
        self._free = device.sms
        self._line = Line(self.limits)
        self._accounts = Accounts(device.sms)
        self._fairness = Fairness(self.limits)
        self._expectation = Expectation(self.limits)
        self._last_client = self._last_lease = self._last_ask = self._ended = 0

    # what happens -----------------------------------------------------------------------------------------

    def register(self, name: str, share: Share, *, pid: int, now: float) -> int:
        """Take a client in and return its number.

        Args:
            name: the function it belongs to.
            share: what it is entitled to, and the memory it declares.
            pid: its process.
            now: seconds.

        Raises:
            LeaseError: floors would sum to more than the device, or memory to more than it has; names the holders.
        """
        if not 0 < len(name) <= wire.MAX_NAME:
            raise LeaseError(f"a client's name has 1 to {wire.MAX_NAME} characters, this one {len(name)}")
        self._admit_floor(name, share, besides=None)
        self._last_client += 1
        number = self._last_client
        self.ledger.declare(number, name, pid, share.memory)
        limits = self.limits
        standing = Entitlement(
            share, sms=self.device.sms, window=limits.window, longest=limits.longest, vtime=0.0, now=now
        )
        self._clients[number] = Client(number, name, pid, share, standing, reserved_since=now)
        return number

    def retract(self, client: int, now: float) -> None:
        """Strike a client out whose memory its process declares anew, or which it never learned of."""
        member = self._client(client)
        self._end_all(member, now)
        self.ledger.strike_out(client)
        del self._clients[client]
        self._accounts.left(member, self._clients.values())

    def adjust(self, client: int, share: Share, now: float) -> None:
        """Change a client's share from now on; LeaseError as `register` raises, and the old share stays."""
        member = self._client(client)
        self._admit_floor(member.name, share, besides=member)
        self.ledger.declare(client, member.name, member.pid, share.memory)
        self._accounts.reserve(member, now)
        ahead = [(lease.unspent(now), lease.sure) for lease in member.leases.values()]
        for amount, sure in ahead:
            member.entitlement.charge(-amount, sure=sure)
        member.entitlement.adjust(share, now)
        for amount, sure in ahead:
            member.entitlement.charge(amount, sure=sure)
        if (share.priority, share.floor) != (member.share.priority, member.share.floor):
            charged = sum(amount for amount, _ in ahead)
            member.entitlement.vtime = self._fairness.start(share.priority) + charged / share.weight
        member.share = share

    def ask(self, client: int, ask: wire.Ask, now: float) -> None:
        """Let a client wait for a lease; LeaseError if it could never be granted."""
        member = self._client(client)
        self._check(member, ask)
        self._expectation.asked(member, now)
        self._last_ask += 1
        member.asks[ask.number] = Waiting(
            client=member,
            number=ask.number,
            order=self._last_ask,
            sms=max(1, int(ask.share * self.device.sms + ROUNDING)),
            seconds=ask.seconds,
            deadline=ask.deadline or math.inf,
            since=now,
        )

    def release(self, client: int, epoch: int, lease: int, now: float) -> None:
        """Take a lease back; LeaseError for one that the client does not hold (any more)."""
        held = self._held(client, epoch, lease)
        self._end(held, now)
        self._expectation.released(held, now)

    def renew(self, client: int, epoch: int, lease: int, ask: wire.Ask, now: float) -> None:
        """Take a lease back and let its client wait for another, as one. LeaseError, and nothing is done, as above."""
        held = self._held(client, epoch, lease)
        self._check(held.client, ask)
        self._end(held, now)
        self.ask(client, ask, now)

    def withdraw(self, client: int, number: int, now: float) -> bool:
        """Forget an ask; return False for one that is not there (any more): it was answered meanwhile."""
        ask = self._client(client).asks.pop(number, None)
        if ask is None:
            return False
        self._accounts.dropped(ask, now)
        return True

    def lost(self, client: int, now: float) -> None:
        """A client's connection has ended, which does not say that its process has: it keeps all but its asks."""
        member = self._client(client)
        member.expected = None
        for number in list(member.asks):
            self.withdraw(member.number, number, now)

    def gone(self, client: int, now: float) -> None:
        """A client's process is gone, or says that it holds nothing more: what it held is free, its memory not yet."""
        member = self._client(client)
        self._end_all(member, now)
        self.ledger.give_up(client)
        del self._clients[client]
        self._accounts.left(member, self._clients.values())

    def memory_seen(self, used: Mapping[int, int], holder: int = 0) -> None:
        """Take an observation of the device, and who holds weights for its clients; as `Ledger.observe`."""
        self.ledger.observe(used, holder)

    # what is to be done -----------------------------------------------------------------------------------

    def schedule(self, now: float) -> list[Decision]:
        """Return what is to be done now."""
        for lease in self._leases():
            self._settle(lease, now)
        decisions: list[Decision] = [*self._refuse_late(now)]
        expected = self._expectation.those(self._clients.values(), self._free, now)
        self._fairness.join(self._clients.values(), now)
        decisions += self._grant(expected, now)
        decisions += self._chase(now)
        return decisions

    def wake(self, now: float) -> float | None:
        """Return when `schedule` has something to do if nothing happens till then; None for never."""
        times = [ask.deadline for ask in self._asks()]
        if self._opens > now and times:
            times.append(self._opens)
        for client in self._clients.values():
            if client.asks and client.entitlement.throttled:
                times.append(client.entitlement.throttled_until())
            elif any(ask.passed is not None for ask in client.asks.values()):
                times += self._out_of_the_way(client, now)
        if times:
            times += self._expectation.ends(self._clients.values(), self._free).values()
        times += map(self._next_step, self._waited_for())
        return min((max(time, now) for time in times if time < math.inf), default=None)

    def status(self, now: float) -> wire.Status:
        """Return the device, who shares it, and what each function has had of it until now."""
        return wire.Status(
            epoch=self.epoch,
            sms=self.device.sms,
            free_sms=self._free,
            memory=self.ledger.capacity,
            free_memory=self.ledger.free,
            unclaimed=self.ledger.unclaimed,
            members=tuple(
                wire.Member(
                    client=client.number,
                    name=client.name,
                    pid=client.pid,
                    share=client.share,
                    sms=sum(lease.sms for lease in client.leases.values()),
                    waiting=len(client.asks),
                )
                for client in self._clients.values()
            ),
            usage=self._accounts.usage(self._clients.values(), self.ledger, now),
        )

    def recall(self, after: int, now: float) -> wire.History:
        """Return leases that have ended, from the one that was the `after`th to end; with the last also what runs."""
        first = self._ended - len(self._history)
        place = min(max(0, after - first), len(self._history))
        ended = list(islice(self._history, place, place + PAGE))
        following = first + place + len(ended)
        running = [lease.hold(now) for lease in self._leases()] if following >= self._ended else []
        return wire.History(following, ended, running)

    # ------------------------------------------------------------------------------------------------------

    def _client(self, number: int) -> Client:
        client = self._clients.get(number)
        if client is None:
            raise LeaseError(f"no client {number} is known here: register first")
        return client

    def _held(self, client: int, epoch: int, number: int) -> Lease:
        lease = self._client(client).leases.get(number)
        if epoch != self.epoch:
            raise LeaseError(f"lease {number} is of epoch {epoch}, this arbiter's is {self.epoch}")
        if lease is None:
            raise LeaseError(f"client {client} holds no lease {number}")
        return lease

    def _leases(self) -> list[Lease]:
        return [lease for client in self._clients.values() for lease in client.leases.values()]

    def _asks(self) -> list[Waiting]:
        return [ask for client in self._clients.values() for ask in client.asks.values()]

    def _admit_floor(self, name: str, share: Share, *, besides: Client | None) -> None:
        others = [client for client in self._clients.values() if client is not besides and client.share.floor]
        taken = math.fsum(client.share.floor for client in others)
        if share.floor and taken + share.floor > 1 + ROUNDING:
            holders = ", ".join(f"{each.name} (process {each.pid}) {each.share.floor:g}" for each in others)
            raise LeaseError(
                f"{name} wants {share.floor:g} of the GPU for sure, {max(0.0, 1 - taken):.3g} is left; "
                f"reserved by: {holders}"
            )

    def _check(self, client: Client, ask: wire.Ask) -> None:
        if not 0 < ask.share <= 1:
            raise LeaseError(f"the share of a lease must be in (0, 1], was {ask.share}")
        if not 0 < ask.seconds <= self.limits.longest:
            raise LeaseError(
                f"a lease is for more than 0 and at most {duration(self.limits.longest)}, was {ask.seconds} s: "
                "renew it between kernels"
            )
        if not ask.deadline >= 0:
            raise LeaseError(f"the deadline of an ask must be a time, or 0 for none, was {ask.deadline}")
        if not 0 <= ask.memory <= client.share.memory:
            raise LeaseError(f"{client.name} declared {client.share.memory} bytes, and asks for {ask.memory}")
        if ask.number < 1 or ask.number in client.asks:
            raise LeaseError(f"ask number {ask.number} is below 1 or waits already")
        if len(client.asks) >= self.limits.asks:
            raise LeaseError(f"{client.name} has {len(client.asks)} asks waiting, and may not have more")

    def _refuse_late(self, now: float) -> Iterator[Tell]:
        for ask in self._asks():
            if now >= ask.deadline:
                self.withdraw(ask.client.number, ask.number, now)
                reason = f"no lease of {ask.sms} SMs within {duration(now - ask.since)}; {self._describe()}"
                yield Tell(ask.client.number, wire.Refused(ask.number, reason))

    def _describe(self) -> str:
        held = [
            f"{lease.client.name} (process {lease.client.pid}) {lease.sms} SMs" for lease in self._leases()
        ]
        return f"{self._free} are free, held: {', '.join(held) or 'none'}"

    def _grant(self, expected: list[Waiting], now: float) -> Iterator[Tell]:
        kept = 0
        while now >= self._opens and (asks := self._asks()):
            eligible = [ask for ask in asks + expected if not ask.client.entitlement.throttled]
            ask = self._line.take(eligible, self._free - kept, now)
            if ask is None:
                return
            if ask in expected:
                expected.remove(ask)
                kept += ask.sms
                continue
            self._fairness.go(ask.client, self._clients.values())
            yield Tell(ask.client.number, self._lease(ask, now))

    def _lease(self, ask: Waiting, now: float) -> wire.Granted:
        client = ask.client
        del client.asks[ask.number]
        beside = tuple(wire.Beside(lease.client.name, lease.sms) for lease in self._leases())
        self._accounts.granted(ask, now)
        self._last_lease += 1
        sure = client.entitlement.begin(ask.sms, ask.seconds)
        lease = Lease(
            client, self._last_lease, ask.sms, start=now, seconds=ask.seconds, charged=ask.seconds, sure=sure
        )
        client.leases[lease.number] = lease
        self._free -= lease.sms
        return wire.Granted(ask.number, self.epoch, lease.number, lease.sms, lease.seconds, beside)

    def _settle(self, lease: Lease, now: float) -> None:
        """Charge what has been used beyond what was charged."""
        beyond = now - lease.start - lease.charged
        if beyond > 0:
            lease.client.entitlement.charge(lease.sms * beyond, sure=lease.sure)
            lease.charged += beyond

    def _end(self, lease: Lease, now: float) -> None:
        client = lease.client
        client.entitlement.advance(now)
        client.entitlement.charge(lease.sms * (now - lease.start - lease.charged), sure=lease.sure)
        client.entitlement.end(lease.sms, sure=lease.sure)
        self._accounts.ended(lease, now)
        self._ended += 1
        self._history.append(lease.hold(now))
        self._free += lease.sms
        del client.leases[lease.number]

    def _end_all(self, client: Client, now: float) -> None:
        self.lost(client.number, now)
        for lease in list(client.leases.values()):
            self._end(lease, now)
        self._accounts.reserve(client, now)

    def _waited_for(self) -> list[Lease]:
        """Return the leases whose SMs somebody else waits for."""
        waiting = {ask.client.number for ask in self._asks() if not ask.client.entitlement.throttled}
        return [lease for lease in self._leases() if waiting - {lease.client.number}]

    def _next_step(self, lease: Lease) -> float:
        """Return when a holder is to be told that it is overdue, or ended."""
        if lease.client.ending:
            return math.inf
        if lease.told is None:
            return lease.start + lease.seconds + self.limits.grace
        return lease.told + self.limits.hang

    def _out_of_the_way(self, client: Client, now: float) -> Iterator[float]:
        """Yield when one that others may wait behind will have used up its ceiling with what it holds too long."""
        over = 0
        for lease in client.leases.values():
            if now < lease.start + lease.seconds:
                yield lease.start + lease.seconds
            else:
                over += lease.sms
        yield client.entitlement.throttled_from(over)

    def _chase(self, now: float) -> Iterator[Decision]:
        for lease in self._waited_for():
            client = lease.client
            if now < self._next_step(lease):
                continue
            reason = f"lease {lease.number} is {duration(lease.overuse(now))} over, and others wait"
            if lease.told is None:
                lease.told = now
                yield Tell(client.number, wire.Revoked(self.epoch, lease.number, reason))
            else:
                client.ending = True
                yield End(client.number, f"{client.name}: {reason}")
