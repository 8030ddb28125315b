"""What each function has had of a device, kept while its clients come and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from regrain.wire.lease import Usage
from regrain_watchdog.gpu.ledger import Ledger
from regrain_watchdog.gpu.members import Client, Lease, Waiting

ACCOUNTS = 200
"""Functions whose sums are kept: with names of MAX_NAME characters they and 100 clients fit into a frame."""


@dataclass(slots=True)
class Account:
    """One function's sums; units as in regrain.wire.lease.Usage."""

    sm_seconds: float = 0.0
    reserved: float = 0.0
    grants: int = 0
    lease_wait: float = 0.0
    overuse: float = 0.0

    def add_lease(self, lease: Lease, now: float) -> None:
        """Count what a lease has used until now."""
        self.sm_seconds += lease.sms * (now - lease.start)
        self.overuse += lease.overuse(now)

    def add_wait(self, ask: Waiting, now: float) -> None:
        """Count what an ask has waited until now."""
        self.lease_wait += now - ask.since

    def add_reserved(self, client: Client, sms: int, now: float) -> None:
        """Count what a client's floor has kept for it until now."""
        self.reserved += client.share.floor * sms * (now - client.reserved_since)


class Accounts:
    """The accounts of all functions on a device of `sms` SMs."""

    def __init__(self, sms: int) -> None:
        self._sms = sms
        self._accounts: dict[str, Account] = {}

    def granted(self, ask: Waiting, now: float) -> None:
        """An ask has become a lease."""
        self._of(ask.client).grants += 1
        self._of(ask.client).add_wait(ask, now)

    def dropped(self, ask: Waiting, now: float) -> None:
        """An ask waits no more."""
        self._of(ask.client).add_wait(ask, now)

    def ended(self, lease: Lease, now: float) -> None:
        """A lease is over."""
        self._of(lease.client).add_lease(lease, now)

    def reserve(self, client: Client, now: float) -> None:
        """Count a client's floor until now; from here on it may be another."""
        self._of(client).add_reserved(client, self._sms, now)
        client.reserved_since = now

    def left(self, client: Client, clients: Iterable[Client]) -> None:
        """A client has gone, `clients` stay. Functions without any are forgotten beyond ACCOUNTS, the oldest first."""
        self._accounts[client.name] = self._accounts.pop(client.name, Account())  # the last one to go
        present = {one.name for one in clients}
        gone = [name for name in self._accounts if name not in present]
        for name in gone[: max(0, len(gone) + len(present) - ACCOUNTS)]:
            del self._accounts[name]

    def usage(self, clients: Iterable[Client], ledger: Ledger, now: float) -> tuple[Usage, ...]:
        """Return each function's sums with what runs and waits now, by name."""
        sums = {
            name: Account(each.sm_seconds, each.reserved, each.grants, each.lease_wait, each.overuse)
            for name, each in self._accounts.items()
        }
        for client in clients:
            account = sums.setdefault(client.name, Account())
            account.add_reserved(client, self._sms, now)
            for lease in client.leases.values():
                account.add_lease(lease, now)
            for ask in client.asks.values():
                account.add_wait(ask, now)
        return tuple(
            Usage(
                name=name,
                sm_seconds=each.sm_seconds,
                reserved_sm_seconds=each.reserved,
                grants=each.grants,
                lease_wait=each.lease_wait,
                overuse=each.overuse,
                declared=ledger.declared_by(name),
                seen=ledger.seen_of(name),
                quarantined=ledger.quarantined_of(name),
                held=ledger.held_by(name),
            )
            for name, each in sorted(sums.items())
        )

    def _of(self, client: Client) -> Account:
        return self._accounts.setdefault(client.name, Account())
