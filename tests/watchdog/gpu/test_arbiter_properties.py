"""What holds of an arbiter whatever its clients do: random ones, seen from outside."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from regrain.wire.lease import Share
from regrain_watchdog.gpu.limits import Limits

CLIENTS = runpy.run_path(str(Path(__file__).with_name("random_clients.py")))
SMS, Worker, World = (CLIENTS[name] for name in ("SMS", "Worker", "World"))
seeds, shares, workers = (CLIENTS[name] for name in ("seeds", "shares", "workers"))
capped = shares(priority=st.just(0), ceiling=st.sampled_from([0.05, 0.2, 0.5, 1.0]))
anything = shares(
    floor=st.sampled_from([0.0, 0.0, 0.1, 0.3]),
    ceiling=st.sampled_from([1.0, 1.0, 0.3, 0.6]),
    memory=st.sampled_from([0, 100, 400]),
)


@given(
    workers(anything, most=8, overrun=st.sampled_from([0.0, 0.1]), mortal=st.sampled_from([0.0, 0.2])), seeds
)
@settings(max_examples=80, deadline=None)
def test_neither_sms_nor_memory_are_ever_promised_twice_and_in_the_end_all_is_free(them, seed):
    world = World(them, Limits(hang=0.05, grace=0.01), seed)

    world.run(3.0)

    status = world.arbiter.status(world.now)
    by_own_record = sum(worker.service for worker in them)
    assert sum(usage.sm_seconds for usage in status.usage) == pytest.approx(by_own_record)
    for worker in list(world.workers.values()):
        world.do_die(worker)
    world.check()
    assert world.arbiter.schedule(world.now) == []
    assert world.arbiter.wake(world.now) is None


def narrow_one_that_keeps_a_wide_one_out() -> list[Worker]:
    """A tenth of the device is about to be asked for again; all of it waits, and would fit."""
    return [
        Worker(0.1, 0.01, Share(weight=0.5), gap=1e-4),
        Worker(0.1, 0.01, Share(weight=0.5), pause=0.01),
        Worker(1.0, 0.01, Share(weight=0.5, priority=1)),
    ]


@given(workers(shares(), gap=st.sampled_from([0.0, 1e-4, 3e-4, 0.01])), st.sampled_from([0.0, 0.002]), seeds)
@example(narrow_one_that_keeps_a_wide_one_out(), 0.002, 0)
@settings(max_examples=80, deadline=None)
def test_no_ask_waits_that_fits_but_for_a_moment_in_which_one_is_expected_back(them, keep, seed):
    """The SM-seconds that it could have had are at most `keep_part` of those that were held."""
    world = World(them, Limits(reserve_after=1e9, keep=keep), seed)
    kept, lost, since, idle = world.check, 0.0, 0.0, 0

    def check() -> None:
        nonlocal lost, since, idle
        kept()
        lost, since = lost + idle * (world.now - since), world.now
        free = world.arbiter.status(world.now).free_sms
        widths = (int(each.width * SMS + 1e-6) for each in world.workers.values() if each.waiting)
        idle = max((width for width in widths if width <= free), default=0)
        assert keep or not idle

    world.check = check
    world.run(2.0)

    assert lost <= world.limits.keep_part * sum(worker.service for worker in them) + 1e-6


@given(
    workers(
        shares(priority=st.just(0)), width=st.just(1.0), pause=st.just(0.0), gap=st.sampled_from([0.0, 1e-4])
    ),
    seeds,
)
@settings(max_examples=60, deadline=None)
def test_who_always_waits_gets_its_weight_within_one_lease_of_each(them, seed):
    """Start-time fair queueing's |S_i/w_i - S_j/w_j| <= l_i/w_i + l_j/w_j, also for one that asks a moment later."""
    world = World(them, Limits(), seed)

    world.run(3.0)

    for one in them:
        for other in them:
            spread = abs(one.service / one.share.weight - other.service / other.share.weight)
            lease = SMS * (one.quantum / one.share.weight + other.quantum / other.share.weight)
            assert spread <= lease + 1e-6


@given(workers(st.just(Share()), width=st.just(0.25), pause=st.just(0.0)), seeds)
@settings(max_examples=40, deadline=None)
def test_those_of_equal_width_and_weight_get_the_same_however_many_fit(them, seed):
    world = World(them, Limits(), seed)

    world.run(3.0)

    services = [worker.service for worker in them]
    quantum = max(worker.quantum for worker in them)
    assert max(services) - min(services) <= 2 * 0.25 * SMS * quantum * (len(them) + 1)


@given(workers(capped, overrun=st.sampled_from([0.0, 0.2])), seeds)
@settings(max_examples=60, deadline=None)
def test_ceilings_are_kept_over_any_time(them, seed):
    world = World(them, Limits(window=0.2), seed)

    world.run(3.0)

    for worker in them:
        if worker.share.ceiling == 1:
            continue
        for first, (start, _, _) in enumerate(worker.held):
            had = 0.0
            for since, end, sms in worker.held[first:]:
                had += sms * (end - since)
                lease = sms * worker.quantum * (3 if worker.overrun else 1)
                most = worker.share.ceiling * SMS * (end - start + world.limits.window) + lease
                assert had <= most + 1e-6


standings = st.tuples(
    st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.sampled_from([0.01, 1.0, 50.0]), st.integers(0, 2)
)


@given(st.lists(standings, min_size=2, max_size=3), seeds)
@settings(max_examples=60, deadline=None)
def test_floors_are_kept_whatever_weights_and_priorities(entries, seed):
    limits = Limits(window=0.2, patience=1.0)
    them = [Worker(1.0, 0.02, Share(floor=one, weight=two, priority=three)) for one, two, three in entries]
    world = World(them, limits, seed)

    world.run(6.0)

    for worker in them:
        aged = 3 * (6.0 / limits.patience + 1) * worker.quantum  # what went to priorities that had waited
        lost = limits.window + (len(them) + 1) * worker.quantum + aged
        assert worker.service >= SMS * (worker.share.floor * 6.0 - lost) - 1e-6


@st.composite
def one_that_was_alone(draw: st.DrawFn) -> list[Worker]:
    """A client with a floor, and from 4 s on heavier ones; those with a floor take the whole device in their turn."""
    quanta, overrun = st.sampled_from([0.01, 0.02]), st.sampled_from([0.0, 0.2])
    heavy = [
        (draw(st.sampled_from([0.25, 0.6, 1.0])), Share(weight=50.0)),
        (1.0, Share(weight=50.0, floor=0.3)),
    ]
    others = [
        Worker(width, draw(quanta), share, overrun=draw(overrun), joins=4.0)
        for width, share in draw(st.lists(st.sampled_from(heavy), min_size=1, max_size=2))
    ]
    sure = Share(floor=draw(st.sampled_from([0.2, 0.4])))
    return [Worker(1.0, draw(quanta), sure, overrun=draw(overrun)), *others]


@given(one_that_was_alone(), seeds)
@settings(max_examples=25, deadline=None)
def test_floors_are_kept_whatever_was_used_before(them, seed):
    world = World(them, Limits(window=0.2, reserve_after=0.05), seed)

    world.run(8.0)

    for worker in them:
        lost = 2 * world.limits.window + 2 * 3 * sum(other.quantum for other in them)
        assert worker.had(4.0, 8.0) >= SMS * (worker.share.floor * 4.0 - lost) - 1e-6


def floor_that_hides_a_debt() -> list[Worker]:
    """The wide one goes in the turns of its priority while the narrow heavy one of it goes by its floor."""
    return [
        Worker(0.1, 0.01, Share(weight=0.5)),
        Worker(0.1, 0.01, Share(weight=0.5)),
        Worker(0.1, 0.01, Share(weight=0.5), pause=0.01),
        Worker(0.8, 0.05, Share(weight=0.5, priority=2)),
        Worker(0.1, 0.01, Share(weight=3.0, priority=2, floor=0.0375)),
    ]


def width_that_the_holes_of_others_hide() -> list[Worker]:
    """The widest one, and the heaviest of its priority, of which two fit into what a more urgent wide one leaves."""
    return [
        *(Worker(0.1, 0.01, Share(weight=0.5), pause=pause) for pause in (0.0, 0.0, 0.0, 0.1)),
        Worker(0.8, 0.01, Share(weight=0.5)),
        Worker(0.25, 0.01, Share(weight=0.5, priority=2, floor=0.0375)),
        Worker(0.4, 0.01, Share(weight=0.5, priority=2)),
        Worker(0.8, 0.01, Share(weight=3.0, priority=2)),
    ]


sure_of_little = shares(floor=st.sampled_from([0.0, 0.0, 0.0125, 0.0375]))
crowds = workers(sure_of_little, most=8, overrun=st.sampled_from([0.0, 0.1]))
IMPATIENT = Limits(patience=0.2, reserve_after=0.05)
TURN = IMPATIENT.patience + IMPATIENT.reserve_after + 0.15
"""Seconds within which the foremost of a priority goes, if no other is due: what runs has come to its end, too."""


@given(crowds, seeds)
@example(floor_that_hides_a_debt(), 0)
@example(width_that_the_holes_of_others_hide(), 0)
@settings(max_examples=25, deadline=None)
def test_nobody_waits_for_ever(them, seed):
    """Each waits at most for a lease or two of each other, per lease that its weight and width are behind."""
    world = World(them, IMPATIENT, seed)

    world.run(8.0)

    for worker in them:
        ahead = worker.lease_service / worker.share.weight
        leases = sum(
            max(1.0, ahead / (other.lease_service / other.share.weight))
            if other.share.priority == worker.share.priority
            else 1.0
            for other in them
        )
        assert max(end - start for start, end in worker.waits) <= 2 * TURN * leases


@given(crowds, seeds)
@example(floor_that_hides_a_debt(), 0)
@example(width_that_the_holes_of_others_hide(), 0)
@settings(max_examples=25, deadline=None)
def test_while_one_waits_no_other_gets_more_than_the_lease_it_is_behind(them, seed):
    """Nor more than its floor, if that is more; and what fits while one that goes next does not."""
    world = World(them, IMPATIENT, seed)

    world.run(8.0)

    for worker in them:
        ahead = worker.lease_service / worker.share.weight * (3 if worker.overrun else 1)
        start, end = max(worker.waits, key=lambda wait: wait[1] - wait[0])
        for other in them:
            if other is worker or other.share.priority != worker.share.priority:
                continue
            sure = other.share.floor * SMS * (end - start + IMPATIENT.window)
            holes = other.width * SMS * (IMPATIENT.window + TURN)
            owed = max(ahead * other.share.weight, sure) + holes + 6 * other.lease_service
            assert other.had(start, end) <= owed
