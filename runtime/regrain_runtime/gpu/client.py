"""Leases of a GPU for the stages of a replica, from the device's arbiter.

    gpu = Client("/run/regrain/gpu0.sock", "ocr/recognise", Share(weight=2.0, memory=2 << 30))
    with gpu.lease(0.5, seconds=0.02, timeout=1.0) as lease:
        for batch in batches:
            run(batch)
            lease.renew()

It fails closed: without an arbiter there is no lease, and a lease is over once its arbiter is. Every wait has an end.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, Share
from regrain_runtime.gpu.connection import Connection, LostError, RefusedError

SLACK = 1.0
"""Seconds past the end of a wait in which the arbiter must have answered."""
Token = tuple[int, int]
Waiting = Callable[[], contextlib.AbstractContextManager[None]]
NOTHING: Token = (0, 0)
UNKNOWN = wire.Registered(0, 0, 0, math.inf)


class Lease:
    """SMs of the device, held until the end of the `with` that gave it.

    Attributes:
        sms: SMs that may be used.
        seconds: for how long; longer is charged, and others may be waiting.
        beside: leases of others that were held when it was granted.
        token: epoch and number. Of two grants of a device the later one has the higher token.
    """

    def __init__(self, client: Client, ask: wire.Ask, timeout: float, waiting: Waiting) -> None:
        self._client = client
        self._ask = ask
        self._waiting = waiting
        self.token = NOTHING
        self._acquire(timeout)

    def go_on(self) -> bool:
        """Whether the next kernel may start. If not, the arbiter wants the lease back or is gone: renew it, or end."""
        return self._client.holds(self.token)

    def renew(self, *, timeout: float = 5.0) -> None:
        """Give the lease back and wait for it anew, in turn with the others; what was started on it must have ended.

        Raises:
            LeaseError: as `Client.lease` raises. The lease is then over.
        """
        with self._waiting():
            self._acquire(timeout)

    def _acquire(self, timeout: float) -> None:
        before, self.token = self.token, NOTHING
        granted = self._client.acquire(self._ask, timeout, before)
        self.sms, self.seconds, self.beside = granted.sms, granted.seconds, granted.beside
        self.token = (granted.epoch, granted.lease)


class Client:
    """One client of the arbiter at `path`, for the function `name`; for one thread. A forked child is another one."""

    def __init__(self, path: str | Path, name: str, share: Share) -> None:
        self._path = str(path)
        self._name = name
        self._share = share
        self._connection: Connection | None = None
        self._known = UNKNOWN
        self._held: set[Token] = set()
        self._wanted_back: set[Token] = set()
        self._asks = 0
        self._pid = os.getpid()

    @property
    def longest(self) -> float:
        """Seconds that a lease is granted for at most, as far as is known; who needs longer renews."""
        return self._known.longest

    def join(self, *, timeout: float = 5.0) -> None:
        """Be known to the arbiter, with the memory that is declared; LeaseError if it refuses, or none serves."""
        self._connected(time.monotonic() + timeout)

    def rejoin(self) -> None:
        """Be known again after the connection was lost, if an arbiter serves by now and does not refuse."""
        self._hear()
        if self._known is not UNKNOWN:
            with contextlib.suppress(LeaseError):
                self._connected(time.monotonic())

    @contextlib.contextmanager
    def lease(
        self,
        share: float,
        *,
        seconds: float,
        memory: int = 0,
        timeout: float = 5.0,
        waiting: Waiting = contextlib.nullcontext,
    ) -> Iterator[Lease]:
        """Hold a lease of the device within a `with`. What was started on it must have ended when that ends.

        Args:
            share: fraction of the device's SMs, rounded down to whole ones.
            seconds: how long it is going to be held.
            memory: bytes in use meanwhile, at most what the client's share declares.
            timeout: seconds to wait for it, finding an arbiter included.
            waiting: surrounds each wait for the lease's renewal.

        Raises:
            LeaseError: it was refused, was not to be had in time, or no arbiter serves; the message says which.
        """
        lease = Lease(self, wire.Ask(0, share, seconds, memory), timeout, waiting)
        try:
            yield lease
        finally:
            self._give_back(lease.token)

    def adjust(self, share: Share, *, timeout: float = 5.0) -> None:
        """Change what this client is entitled to; LeaseError if that is refused, and the old share stays."""
        until = time.monotonic() + timeout
        connection = self._connected(until)
        with self._failing_closed():
            connection.send(wire.Adjust(0, share))
            self._answer(connection, 0, until + SLACK)
        self._share = share

    def become(self, name: str, share: Share, *, timeout: float = 5.0) -> None:
        """Be the client of another function from here on, holding no lease; what was declared is declared anew.

        LeaseError if that is refused, or nobody answers; it then is what it was.
        """
        before = self._name, self._share
        self._name, self._share = name, share
        self._disconnect()
        try:
            self.join(timeout=timeout)
        except LeaseError as error:
            self._name, self._share = before
            if isinstance(error, RefusedError):
                self.join(timeout=timeout)
            raise

    def close(self) -> None:
        """Leave: nothing is held or wanted any more."""
        if self._connection is not None and self._pid == os.getpid():
            with contextlib.suppress(LostError):
                self._connection.send(wire.Leave())
            self._known = UNKNOWN
        self._disconnect()

    def holds(self, token: Token) -> bool:
        """Whether this lease is held and not wanted back, as far as the arbiter has said by now."""
        if self._pid != os.getpid():
            return False
        self._hear()
        return token in self._held and token not in self._wanted_back

    def acquire(self, ask: wire.Ask, timeout: float, before: Token) -> wire.Granted:
        """Wait for a lease, in the same step giving back the one held before, while arbiters come and go."""
        until = time.monotonic() + timeout
        while True:
            try:
                connection = self._connected(until)
                with self._failing_closed():
                    return self._ask(connection, ask, until, before)
            except LostError:
                if time.monotonic() >= until:
                    raise

    # ------------------------------------------------------------------------------------------------------

    def _connected(self, until: float) -> Connection:
        """Return the connection, made anew if need be; LeaseError if that cannot be, or not by `until`."""
        if self._pid != os.getpid():
            self._disconnect()  # this one's copy of its parent's
            self._known = UNKNOWN
            self._pid = os.getpid()
        if self._connection is None:
            connection = Connection(self._path, until)
            try:
                before = self._known
                connection.send(wire.Register(self._name, self._share, before.epoch, before.client))
                answer = self._answer(connection, 0, until + SLACK)
            except BaseException:
                connection.close()
                raise
            if isinstance(answer, wire.Registered):
                self._known = answer
            self._connection = connection
        return self._connection

    def _ask(self, connection: Connection, ask: wire.Ask, until: float, before: Token) -> wire.Granted:
        self._asks += 1
        number = self._asks
        frame = wire.Ask(number, ask.share, ask.seconds, ask.memory, until)
        renews = before in self._held
        self._forget(before)
        try:
            connection.send(wire.Renew(*before, frame) if renews else frame)
            return self._granted(connection, number, until + SLACK)
        except LeaseError:
            raise
        except BaseException:  # a signal's handler has raised, say: nobody would give the lease back
            with contextlib.suppress(LeaseError):
                connection.send(wire.Withdraw(number))
                granted = self._granted(connection, number, time.monotonic() + SLACK)
                self._give_back((granted.epoch, granted.lease))
            raise

    def _granted(self, connection: Connection, number: int, until: float) -> wire.Granted:
        answer = self._answer(connection, number, until)
        if not isinstance(answer, wire.Granted):
            raise LeaseError(f"the arbiter at {self._path} answers an ask with {type(answer).__name__}")
        return answer

    def _answer(self, connection: Connection, number: int, until: float) -> wire.FromArbiter:
        """Return the answer to what was asked under a number; RefusedError if it is a refusal."""
        while (frame := connection.receive(max(0.0, until - time.monotonic()))) is not None:
            self._note(frame)
            match frame:
                case wire.Refused(number=about, reason=reason) if about == number:
                    raise RefusedError(f"{self._name}: {reason}")
                case wire.Granted(number=about) if about == number:
                    return frame
                case wire.Registered() | wire.Adjusted() if not number:
                    return frame
        raise LeaseError(f"the arbiter at {self._path} does not answer")

    def _give_back(self, token: Token) -> None:
        """Release a lease; if its connection is lost, say so on another one, unless the arbiter is gone as well."""
        if self._pid != os.getpid() or token == NOTHING:
            return
        with contextlib.suppress(LeaseError), self._failing_closed():
            if token not in self._held:
                self._connected(time.monotonic())
            elif self._connection is not None:
                self._forget(token)
                self._connection.send(wire.Release(*token))

    def _hear(self) -> None:
        """Take note of all that the arbiter has said by now, its end too."""
        with contextlib.suppress(LeaseError), self._failing_closed():
            while self._connection is not None and (frame := self._connection.receive(0.0)) is not None:
                self._note(frame)

    def _note(self, frame: wire.FromArbiter) -> None:
        """Keep in mind what a frame says about the leases, whoever waits for it."""
        match frame:
            case wire.Granted():
                self._held.add((frame.epoch, frame.lease))
            case wire.Revoked():
                self._wanted_back.add((frame.epoch, frame.lease))

    def _forget(self, token: Token) -> None:
        self._held.discard(token)
        self._wanted_back.discard(token)

    @contextlib.contextmanager
    def _failing_closed(self) -> Iterator[None]:
        """Be without connection and leases after any failure of the connection."""
        try:
            yield
        except RefusedError:
            raise
        except LeaseError:
            self._disconnect()
            raise

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._held.clear()
        self._wanted_back.clear()
