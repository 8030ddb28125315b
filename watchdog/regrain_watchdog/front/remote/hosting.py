"""Runs units of a group for another pod, in the queues and replicas that requests of its own go through.

A pod of any plan serves any group: its own plan's function where the caller's grain is the one in force, or still ends
its calls; else a plan of the caller's grain over the replicas that live (docs/decisions/0009), which ends once nobody
has come for a while.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus

from regrain.errors import GrainError, RequestError
from regrain.plan import Step
from regrain.wire import frames
from regrain.wire.frames import FrameError
from regrain_watchdog.front.call import Call
from regrain_watchdog.front.problem import internal
from regrain_watchdog.front.remote import wire
from regrain_watchdog.front.remote.guests import Guests
from regrain_watchdog.front.remote.visit import Visit
from regrain_watchdog.front.service import App

logger = logging.getLogger(__name__)


def host(
    guests: Guests,
    version: str,
    epoch: int,
    frame: bytes | memoryview,
    told: Callable[[bytes | RequestError], None],
) -> Callable[[], None]:
    """Run the units of a frame, of which nothing is kept, for whoever proved to be another pod.

    Args:
        guests: finds who runs a group.
        version: of the app, that is asked for.
        epoch: likewise.
        frame: an `Ask`.
        told: is called in a later turn of the loop with the answer.

    Returns:
        What gives the units up; `told` is not called then.
    """
    answer: bytes | RequestError
    try:
        guests.check(version, epoch)
        ask, tail = wire.opened(frame, wire.Ask)
        app, place = guests.find(version, ask.grain, ask.group)
        if ask.units:
            visits = _visits(app, place, ask, tail)
            return app.host(visits, lambda errors: told(_told(app, place, visits, errors)))
        answer = wire.Loading(app.crew.pool).sealed(wire.Told([], []))
    except (FrameError, GrainError) as error:
        answer = RequestError(HTTPStatus.BAD_REQUEST, str(error))
    except RequestError as error:
        answer = error
    except Exception:
        logger.exception("a request of another pod failed unexpectedly")
        answer = internal("")
    return asyncio.get_running_loop().call_soon(told, answer).cancel


def _visits(app: App, place: int, ask: wire.Ask, tail: memoryview) -> list[Visit]:
    """Return the units as flights of an app, their values in its memory; RequestError (400) if they are none."""
    now, step = time.monotonic(), app.route.steps[place]
    landing = wire.Landing(app.crew.pool, tail)
    try:
        given = [_given(guest, step, landing) for guest in ask.units]
    except FrameError as error:
        landing.forget()
        raise RequestError(HTTPStatus.BAD_REQUEST, str(error)) from error
    landing.commit()
    return [
        Visit(app.route, _call(guest, now), place=place, given=values)
        for guest, values in zip(ask.units, given, strict=True)
    ]


def _given(guest: wire.Guest, step: Step, landing: wire.Landing) -> list[frames.Parts]:
    if len(guest.values) != len(step.inputs):
        raise FrameError(f"{len(guest.values)} inputs where {len(step.inputs)} are taken")
    if not all(parts.split or len(parts.values) == 1 for parts in guest.values):
        raise FrameError("an input that is not one value")
    return [landing.parts(parts) for parts in guest.values]


def _call(guest: wire.Guest, now: float) -> Call:
    """Return a unit as a call that arrived when its request did, on this machine's clock."""
    has_deadline = guest.budget > 0.0
    return Call(
        id=guest.call,
        values={},
        headers=guest.headers,
        arrived=now + guest.left - guest.budget if has_deadline else now,
        deadline=now + guest.left if has_deadline else 0.0,
        firm=guest.firm,
        priority=guest.priority,
    )


def _told(app: App, place: int, visits: Sequence[Visit], errors: Sequence[object]) -> bytes | RequestError:
    """Return the answer to a frame: what its units gave, and what it cost."""
    try:
        loading = wire.Loading(app.crew.pool)
        outcomes = [
            wire.mapped(visit.outcome(), loading.parts, loading.value) if error is None else _fault(error)
            for visit, error in zip(visits, errors, strict=True)
        ]
        return loading.sealed(wire.Told(outcomes, _timings(app.route.steps[place], visits)))
    except Exception:
        logger.exception("a request of another pod failed unexpectedly")
        return internal("")


def _fault(error: object) -> frames.Fault:
    if isinstance(error, RequestError):
        return frames.Fault(int(error.status), error.stage, error.detail, error.headers)
    return frames.Fault(HTTPStatus.INTERNAL_SERVER_ERROR, "", "it was cut off")


def _timings(step: Step, visits: Sequence[Visit]) -> list[frames.Timing]:
    """Return what stages took; units that ran together have their spans in common."""
    leased = 0.0
    known: set[int] = set()
    sums = dict.fromkeys(step.stages, (0.0, 0, 0))
    for visit in visits:
        for span in visit.call.spans:
            is_new = id(span) not in known
            known.add(id(span))
            if span.kind == "lease" and is_new:
                leased += span.seconds
            elif span.kind == "service" and not span.lost and (is_new or span.batch == 1):
                # one of a batch of 1 is each unit's own
                seconds, count, calls = sums[span.stage]
                sums[span.stage] = seconds + span.seconds, count + span.batch, calls + 1
    timings = []
    for stage, (seconds, count, calls) in sums.items():
        if calls:
            timings.append(frames.Timing(stage, seconds, count, calls, leased))
            leased = 0.0
    return timings
