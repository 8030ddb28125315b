"""Give a pool as many servers as a plan says: others open, or some close and end what they hold."""

from __future__ import annotations

import numpy as np

from regrain_watchdog.policy.model import Pool
from regrain_watchdog.simulate.state import State

NOBODY = -1


def staff(state: State, row: int, pool: Pool, *, is_leased: bool) -> None:
    """Open and close servers of a pool's row, and set its cards."""
    _cards(state, row, pool.cards if is_leased else (np.inf,))
    more = pool.servers - int(state.pools[row]["serving"])
    for _ in range(more):
        _open(state, row)
    for _ in range(-more):
        _close(state, row)


def vacate(state: State, row: int) -> None:
    """Leave nothing in a pool's row of the one that had it before."""
    state.servers[row] = 0
    state.free[row] = state.cards[row] = 0.0


def _open(state: State, row: int) -> None:
    pool, servers = state.pools[row : row + 1], state.servers[row]
    used = int(pool["servers"][0])
    closed = np.flatnonzero(~servers["is_open"][:used])
    server = int(closed[0]) if len(closed) else used
    if server == used:
        pool["servers"] += 1
        servers[server] = (False, 0, 0.0, NOBODY, -1.0)
    servers["is_open"][server] = True
    pool["serving"] += 1
    pool["idle"] += servers["held"][server] == 0


def _close(state: State, row: int) -> None:
    """Close the server that holds least."""
    pool, servers = state.pools[row : row + 1], state.servers[row]
    opened = np.flatnonzero(servers["is_open"][: int(pool["servers"][0])])
    server = int(opened[np.argmin(servers["held"][opened])])
    servers["is_open"][server] = False
    pool["serving"] -= 1
    pool["idle"] -= servers["held"][server] == 0


def _cards(state: State, row: int, cards: tuple[float, ...]) -> None:
    """Set how much the cards have; what is held of them stays held."""
    wanted = np.zeros(state.cards.shape[1])
    wanted[: len(cards)] = cards
    infinite = np.isinf(wanted) & np.isinf(state.cards[row])
    state.free[row] += np.where(infinite, 0.0, wanted - np.where(infinite, 0.0, state.cards[row]))
    state.cards[row] = wanted
    state.pools["cards"][row] = max(len(cards), int(state.pools["cards"][row]))
