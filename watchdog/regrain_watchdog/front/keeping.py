"""Have the living replicas of an app keep other stages loaded."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

from regrain.errors import RequestError
from regrain.plan import Group
from regrain_watchdog.front.crew import Crew
from regrain_watchdog.front.replica import Replica, State
from regrain_watchdog.policy import resident


def loads(crew: Crew, setting: str) -> dict[int, tuple[Group, frozenset[str]]]:
    """Return by replica its group, and the stages that it will have had loaded at once; SpecError as `needed`."""
    order = crew.manifest.graph.stages
    resident.check(setting, order)
    return {
        replica.number: (
            replica.home.seat,
            replica.wanted.union(resident.kept(setting, replica.home.seat.stages, order)),
        )
        for replica in crew.replicas
    }


def needed(crew: Crew, setting: str) -> int:
    """Return the bytes that replicas would need beyond what they have loaded, by what the stages declare.

    SpecError if the setting is none of this app's.
    """
    order = crew.manifest.graph.stages
    resident.check(setting, order)
    return sum(
        crew.manifest.stage(name).memory
        for replica in crew.replicas
        for name in resident.kept(setting, replica.home.seat.stages, order)
        if name not in replica.wanted
    )


async def keep(crew: Crew, setting: str, patience: float) -> int:
    """Have every replica keep other stages loaded, one after the other; return the bytes that they gave back.

    A replica serves nobody while it loads; where others can serve its group, they do.

    Args:
        crew: the replicas.
        setting: as `resident` takes it.
        patience: seconds that a replica has to load what it lacks.

    Raises:
        SpecError: the setting is none.
        RequestError: (409) a replica could not load; what was loaded before it is dropped again.
    """
    resident.check(setting, crew.manifest.graph.stages)
    before, crew.keeps = crew.keeps, setting
    for replica in crew.replicas:
        if not await _fill(crew, replica, patience):
            crew.keeps = before
            crew.tidy()
            detail = f"replica {replica.pid} could not load what it is to keep; see the log"
            raise RequestError(HTTPStatus.CONFLICT, detail)
    told = crew.tidy()
    with contextlib.suppress(TimeoutError):  # one that streams drops them afterwards
        async with asyncio.timeout(patience):
            while not all(replica.has_settled or replica.state is State.DEAD for replica in told):
                await crew.moved()
    return sum(replica.freed for replica in told)


async def _fill(crew: Crew, replica: Replica, patience: float) -> bool:
    """Have a replica load what it lacks of what it is to keep; return whether it could, or ended before."""
    missing: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(patience):
            while replica.state in (State.STARTING, State.LOADED) or _streams(replica):
                await crew.moved()
            if replica.state is not State.READY:
                return True
            missing = tuple(name for name in crew.kept(replica) if name not in replica.resident)
            if missing:
                replica.state = State.LOADING
                for function in replica.functions:
                    crew.cover(function)
                crew.book(replica, missing)
                replica.load(missing)
            while replica.state in (State.LOADING, State.LOADED):
                await crew.moved()
    except TimeoutError:
        if missing:
            replica.kill(f"it had not loaded {', '.join(missing)} after {patience:g} s")
        return False
    return not missing or (replica.state is not State.DEAD and replica.resident.issuperset(missing))


def _streams(replica: Replica) -> bool:
    """Whether it holds a stream, behind which it would not load before its reader has taken all."""
    return replica.state is State.READY and any(one.step.streams for one in replica.holding.values())
