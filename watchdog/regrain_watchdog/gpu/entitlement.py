"""What a client is owed of a device's SM-seconds: its floor, its ceiling, and its fair part of the rest.

All three count the same: a grant is charged in full when it is made, what was not used is given back at its end, and
what was used beyond it is charged as it goes by. So neither a client that promises little nor one that asks for much at
once gets more than its part. But what a client had of what others left is no debt to its floor: it would then wait for
its floor as long as it had been alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from regrain.wire.lease import Share

TINY = 1e-6
"""SM-seconds that no account resolves: a clock of 1e6 s in double precision, times a thousand SMs."""


@dataclass(slots=True)
class Bucket:
    """SM-seconds that fill at `rate` up to `depth` and drain as they are used; below 0 is debt, `most` at most."""

    rate: float
    depth: float
    level: float
    filled: float
    most: float = math.inf

    def fill(self, now: float, *, less: float = 0.0) -> None:
        """Let it fill until `now`, by `less` SMs slower."""
        if now > self.filled:
            self.level = min(self.depth, self.level + max(0.0, self.rate - less) * (now - self.filled))
            self.filled = now

    def charge(self, amount: float) -> None:
        """Take SM-seconds out of it; a negative amount gives them back."""
        self.level = max(-self.most, min(self.depth, self.level - amount))

    def adjust(self, rate: float, depth: float) -> None:
        """Fill at another rate from here on."""
        self.rate, self.depth = rate, depth
        self.level = min(self.level, depth)


class Entitlement:
    """The standing of one client with a share of a device of `sms` SMs, where a lease is for at most `longest` seconds.

    Floor and ceiling are buckets that fill at so much of the device and hold what comes in within `window` seconds. A
    lease that goes by its client's floor is charged to it. Any other only keeps it from filling, by as many SMs, so a
    floor is owed at most for one lease that went by it, and for what that was held over its time: sms x longest. A
    client that asks all the time for T seconds therefore gets floor x sms x T, whatever it used before, less that debt,
    what others had saved up (sms x window at most) and a lease of each. It never gets more than ceiling x sms x
    (T + window) and one lease, with what that was held over its time. A ceiling of 1 is none.

    `vtime` is start-time fair queueing's (Goyal, Vin, Cheng: SIGCOMM '96): SM-seconds had, over the weight. Who waits
    with the least goes first; who begins to wait again starts no lower than those that are waiting, so idling saves up
    nothing.
    """

    def __init__(
        self, share: Share, *, sms: int, window: float, longest: float, vtime: float, now: float
    ) -> None:
        self._sms, self._window = sms, window
        self.vtime = vtime
        self.weight = share.weight
        self._fair = 0
        self._floor = Bucket(0.0, 0.0, 0.0, now, most=sms * longest)
        self._ceiling = Bucket(0.0, 0.0, 0.0, now)
        self._capped = False
        self.adjust(share, now)
        self._floor.level, self._ceiling.level = self._floor.depth, self._ceiling.depth

    def adjust(self, share: Share, now: float) -> None:
        """Go on with another share."""
        self.advance(now)
        self.weight = share.weight
        self._floor.adjust(share.floor * self._sms, share.floor * self._sms * self._window)
        self._ceiling.adjust(share.ceiling * self._sms, share.ceiling * self._sms * self._window)
        self._capped = share.ceiling < 1

    def advance(self, now: float) -> None:
        """Let the buckets fill until `now`."""
        self._floor.fill(now, less=self._fair)
        self._ceiling.fill(now)

    def begin(self, sms: int, seconds: float) -> bool:
        """Charge a lease in full; return whether it goes by the floor."""
        sure = self.under_floor
        if not sure:
            self._fair += sms
        self.charge(sms * seconds, sure=sure)
        return sure

    def charge(self, amount: float, *, sure: bool) -> None:
        """Count so many SM-seconds as used, by the floor or not; a negative amount gives them back."""
        self.vtime += amount / self.weight
        self._ceiling.charge(amount)
        if sure:
            self._floor.charge(amount)

    def end(self, sms: int, *, sure: bool) -> None:
        """A lease is over."""
        if not sure:
            self._fair -= sms

    @property
    def under_floor(self) -> bool:
        """Whether its next lease goes by its floor, of which it has had less than it is owed."""
        return self._floor.level > TINY

    @property
    def throttled(self) -> bool:
        """Whether it has had as much as its ceiling allows."""
        return self._capped and self._ceiling.level < -TINY

    def throttled_until(self) -> float:
        """Return when it is throttled no more, if it uses nothing till then."""
        return self._ceiling.filled + max(0.0, -self._ceiling.level) / self._ceiling.rate

    def throttled_from(self, sms: int) -> float:
        """Return from when it is throttled if it goes on to be charged for so many SMs; infinity for never."""
        drain = sms - self._ceiling.rate
        if not self._capped or drain <= 0:
            return math.inf
        return self._ceiling.filled + max(0.0, self._ceiling.level + 2 * TINY) / drain
