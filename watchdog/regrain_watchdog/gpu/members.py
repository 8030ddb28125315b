"""The clients of an arbiter, what they wait for and what they hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from regrain.wire.lease import Hold, Share
from regrain_watchdog.gpu.entitlement import Entitlement


@dataclass(slots=True, eq=False)
class Client:
    """A process, or a part of one, that shares the device for the function `name`.

    idle: whether it neither waited nor held anything, or was throttled, when last looked at.
    expected: its next ask, which is about to come; until `soon`, 0 where it has not left. prompt: whether it came by
    then the last time.
    """

    number: int
    name: str
    pid: int
    share: Share
    entitlement: Entitlement
    reserved_since: float
    idle: bool = True
    ending: bool = False
    expected: Waiting | None = None
    soon: float = 0.0
    prompt: bool = True
    asks: dict[int, Waiting] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)

    def vtime(self, now: float) -> float:
        """Return its virtual time without what it was charged ahead."""
        ahead = sum(lease.unspent(now) for lease in self.leases.values())
        return self.entitlement.vtime - ahead / self.entitlement.weight

    @property
    def is_there(self) -> bool:
        """Whether it waits, holds anything, or is about to ask."""
        return bool(self.asks or self.leases) or self.expected is not None

    @property
    def contends(self) -> bool:
        """Whether it waits for its fair part: not for its floor."""
        return (bool(self.asks) or self.expected is not None) and not self.entitlement.under_floor

    @property
    def charged(self) -> float:
        """SM-seconds that the leases it holds were charged."""
        return sum(lease.sms * lease.charged for lease in self.leases.values())

    @property
    def widest(self) -> int:
        """SMs of the widest that it waits for, holds or is about to ask for."""
        return max(
            max((ask.sms for ask in self.asks.values()), default=0),
            max((lease.sms for lease in self.leases.values()), default=0),
            self.expected.sms if self.expected is not None else 0,
        )


@dataclass(slots=True, eq=False)
class Waiting:
    """An ask that waits since `since` for `sms` SMs for `seconds`; `deadline` infinity is none.

    passed: when a smaller one behind it was let go first; None if none was.
    """

    client: Client
    number: int
    order: int
    sms: int
    seconds: float
    deadline: float
    since: float
    passed: float | None = None


@dataclass(slots=True, eq=False)
class Lease:
    """SMs of the device, since `start` for `seconds`.

    charged: seconds that its client was charged. sure: whether it went by its client's floor. told: when its client
    was told that it is overdue; None before.
    """

    client: Client
    number: int
    sms: int
    start: float
    seconds: float
    charged: float
    sure: bool
    told: float | None = None

    def unspent(self, now: float) -> float:
        """Return the SM-seconds that were charged and not used by now."""
        return self.sms * max(0.0, self.charged - (now - self.start))

    def hold(self, now: float) -> Hold:
        """Return it as it is remembered, ending now."""
        return Hold(
            client=self.client.number,
            name=self.client.name,
            pid=self.client.pid,
            lease=self.number,
            sms=self.sms,
            start=self.start,
            end=now,
            overuse=self.overuse(now),
        )

    def overuse(self, now: float) -> float:
        """Return the seconds by which it was held longer than granted."""
        return max(0.0, now - self.start - self.seconds)
