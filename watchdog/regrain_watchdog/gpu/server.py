"""Serve an arbiter on a Unix socket: its clock, its timers, and the processes of its clients.

Runs on the event loop that it is started on, of the front or of `regrain gpu serve`. Nothing a client sends or fails to
do ends more than that client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from regrain.wire import lease as wire
from regrain.wire.lease import LeaseError, PacketError
from regrain_watchdog.gpu.arbiter import Arbiter, End, Tell
from regrain_watchdog.gpu.claim import Claim, claim
from regrain_watchdog.gpu.ending import End as EndProcess
from regrain_watchdog.gpu.ending import kill
from regrain_watchdog.gpu.holder import holder
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.peer import Peer

logger = logging.getLogger(__name__)

AT_ONCE = 32
"""Frames that are taken of one client before the others have their turn."""
MAX_PEERS = 256
PAUSE = 0.1
"""Seconds until connections are taken again after one could not be."""
SETTLE = 0.25
"""Seconds that an arbiter which takes over waits: its predecessor's clients end the kernels they run."""
LOOK_SOONEST, LOOK_LATEST = 0.005, 1.0
"""Seconds between two looks at the device's memory: soon while some is in quarantine, then ever more rarely."""


class Observer(Protocol):
    """Sees what processes hold of a device's memory (gpu/nvml.py)."""

    def used(self) -> Mapping[int, int]:
        """Return the bytes by process, as they are now; does not raise."""
        ...


class Server:
    """The arbiter of one device at one path.

    observer: None takes the word of clients, and the end of a process, for its memory.
    end: ends a process (its pid and pidfd) that holds on to what others wait for.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        limits: Limits | None = None,
        observer: Observer | None = None,
        end: EndProcess = kill,
    ) -> None:
        self.path = path
        self._device = device
        self._limits = limits
        self._observer = observer
        self._end = end
        self._claim: Claim | None = None
        self._peers: set[Peer] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._accepting: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to serve on the running loop; LeaseError if another arbiter serves the path."""
        self._loop = asyncio.get_running_loop()
        self._claim = held = claim(self.path, wall=time.time())
        opens = time.monotonic() + SETTLE if held.takes_over else 0.0
        self.arbiter = Arbiter(self._device, epoch=held.epoch, limits=self._limits, opens=opens)
        self._loop.add_reader(held.sock, self._accept, held.sock)
        if self._observer is not None:
            self._look(LOOK_LATEST)

    def stop(self) -> None:
        """Stop serving, if it does. Clients stop at their next kernel and look for another arbiter."""
        if self._claim is None:
            return
        for timer in (self._timer, self._looking, self._accepting):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._claim.sock)
        self._claim.release()
        self._claim = None
        for peer in list(self._peers):
            self._forget(peer)

    def status(self) -> wire.Status:
        """Return the device, who shares it, and what each function has had of it until now."""
        return self.arbiter.status(time.monotonic())

    def adjust(self, client: int, share: wire.Share) -> None:
        """Change a client's share from now on; LeaseError if that is refused, and the old share stays."""
        self.arbiter.adjust(client, share, time.monotonic())
        self._pump()

    # connections and processes ----------------------------------------------------------------------------

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # descriptors ran out
            logger.warning("cannot take a connection: %s", error)
            self._loop.remove_reader(listening)
            self._accepting = self._loop.call_later(
                PAUSE, self._loop.add_reader, listening, self._accept, listening
            )
            return
        try:
            if len(self._peers) >= MAX_PEERS:
                raise LeaseError(f"{MAX_PEERS} connections are open, and no more are taken")
            peer = Peer(sock)
        except LeaseError as error:
            logger.warning("refused a connection: %s", error)
            with contextlib.suppress(OSError):
                sock.setblocking(False)
                sock.send(wire.encode(wire.Ended(str(error))))
            sock.close()
            return
        self._peers.add(peer)
        self._loop.add_reader(peer.sock, self._readable, peer)
        self._loop.add_reader(peer.pidfd, self._died, peer)

    def _readable(self, peer: Peer) -> None:
        try:
            for _ in range(AT_ONCE):
                frame = peer.receive()
                if frame is None:
                    self._disconnect(peer)
                    break
                self._handle(peer, frame)
                if not peer.connected:
                    break
        except BlockingIOError:
            pass
        except PacketError as error:
            logger.warning("ended the connection of process %d: %s", peer.pid, error)
            peer.send(wire.Ended(str(error)))
            self._disconnect(peer)
        self._pump()

    def _died(self, peer: Peer) -> None:
        """Its process is gone, and with it all it held but, perhaps, memory."""
        client = peer.client
        self._forget(peer)
        if client:
            self.arbiter.gone(client, time.monotonic())
            self._look(LOOK_SOONEST)
        self._pump()

    def _disconnect(self, peer: Peer) -> None:
        """Its connection is over; what it holds is its process's."""
        if not peer.connected:
            return
        self._loop.remove_reader(peer.sock)
        peer.disconnect()
        if peer.client:
            self.arbiter.lost(peer.client, time.monotonic())
        else:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self._peers.discard(peer)
        if peer.connected:
            self._loop.remove_reader(peer.sock)
        self._loop.remove_reader(peer.pidfd)
        peer.close()

    # frames -----------------------------------------------------------------------------------------------

    def _handle(self, peer: Peer, frame: wire.FromClient) -> None:
        try:
            answer = self._answer(peer, frame, time.monotonic())
        except LeaseError as error:
            answer = wire.Refused(_number(frame), str(error))
        if answer is not None and not peer.send(answer):
            if isinstance(answer, wire.Registered):
                self.arbiter.retract(peer.client, time.monotonic())
                peer.client = 0
            self._disconnect(peer)

    def _answer(self, peer: Peer, frame: wire.FromClient, now: float) -> wire.FromArbiter | None:
        match frame:
            case wire.Ask() | wire.Renew() | wire.Release() | wire.Withdraw():
                return self._lease(peer.client, frame, now)
            case wire.Register():
                return self._register(peer, frame, now)
            case wire.Adjust():
                client = frame.client or peer.client
                self.arbiter.adjust(client, frame.share, now)
                return wire.Adjusted(client)
            case wire.Leave():
                self.arbiter.gone(peer.client, now)
                peer.client = 0
                self._look(LOOK_SOONEST)
                return None
            case wire.Look():
                return self.arbiter.status(now)
            case wire.Recall():
                return self.arbiter.recall(frame.after, now)

    def _lease(
        self, client: int, frame: wire.Ask | wire.Renew | wire.Release | wire.Withdraw, now: float
    ) -> wire.Refused | None:
        match frame:
            case wire.Ask():
                self.arbiter.ask(client, frame, now)
            case wire.Renew():
                self.arbiter.renew(client, frame.epoch, frame.lease, frame.ask, now)
            case wire.Release():
                self.arbiter.release(client, frame.epoch, frame.lease, now)
            case wire.Withdraw():
                if self.arbiter.withdraw(client, frame.number, now):
                    return wire.Refused(frame.number, "withdrawn")
        return None

    def _register(self, peer: Peer, frame: wire.Register, now: float) -> wire.Registered:
        if peer.client:
            raise LeaseError(f"this connection is client {peer.client} already")
        if frame.epoch == self.arbiter.epoch:
            self._succeed(peer, frame.resumes, now)
        peer.client = self.arbiter.register(frame.name, frame.share, pid=peer.pid, now=now)
        limits = self.arbiter.limits
        return wire.Registered(peer.client, self.arbiter.epoch, self._device.sms, limits.longest)

    def _succeed(self, peer: Peer, before: int, now: float) -> None:
        """Let go of what the same process held over a connection that it has lost."""
        for other in list(self._peers):
            if before and other.client == before and other.pid == peer.pid:
                self.arbiter.retract(before, now)
                self._forget(other)

    # what is to be done -----------------------------------------------------------------------------------

    def _pump(self) -> None:
        """Do what the arbiter says, and come back when it has more to say."""
        now = time.monotonic()
        peers = {peer.client: peer for peer in self._peers if peer.client}
        for decision in self.arbiter.schedule(now):
            peer = peers[decision.client]
            match decision:
                case Tell(_, frame):
                    if not peer.send(frame):
                        self._undelivered(peer, frame, now)
                case End(_, reason):
                    logger.warning("ending process %d: %s", peer.pid, reason)
                    self._end(peer.pid, peer.pidfd)
        if self._timer is not None:
            self._timer.cancel()
        wake = self.arbiter.wake(now)
        self._timer = None if wake is None else self._loop.call_later(max(0.0, wake - now), self._pump)

    def _undelivered(self, peer: Peer, frame: wire.Granted | wire.Refused | wire.Revoked, now: float) -> None:
        """A client that cannot be told has no connection any more; a lease that it never saw is no lease."""
        if isinstance(frame, wire.Granted):
            self.arbiter.release(peer.client, frame.epoch, frame.lease, now)
            self._loop.call_soon(self._pump)
        self._disconnect(peer)

    def _look(self, delay: float) -> None:
        """Look at the device's memory now, and again later: `delay` doubles as long as some is in quarantine."""
        if self._looking is not None:
            self._looking.cancel()
        used = self._observer.used() if self._observer is not None else {}
        self.arbiter.memory_seen(used, holder(self.path))
        if self._observer is not None:
            waits = self.arbiter.ledger.quarantined and delay < LOOK_LATEST
            later = min(2 * delay, LOOK_LATEST) if waits else LOOK_LATEST
            self._looking = self._loop.call_later(delay, self._look, later)


def _number(frame: wire.FromClient) -> int:
    """Return the number of the ask that a refusal of this frame is the answer to; 0 for another."""
    match frame:
        case wire.Ask(number=number) | wire.Renew(ask=wire.Ask(number=number)):
            return number
        case _:
            return 0
