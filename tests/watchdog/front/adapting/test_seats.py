"""Where the replicas go that a plan of the controller's lacks."""

import asyncio

import pytest

from regrain.plan import Fluid, GpuShare, Group, Lane, Plan
from regrain_watchdog.front.adapting.seats import seats
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.survey import Found
from regrain_watchdog.policy.place import Room
from regrain_watchdog.policy.resident import Cast

GIB = 1 << 30


def group(name, share, replicas=1, memory=GIB):
    return Group(stages=(name,), replicas=replicas, gpu=GpuShare(fraction=share, memory=memory))


def cast(homes, missing):
    return Cast(homes=homes, guests={}, missing=missing)


@pytest.fixture
def rooms():
    return [Room(16 * GIB), Room(16 * GIB)]


def test_a_replica_goes_where_its_share_is_free_beside_those_that_stay(rooms):
    plan = Plan((group("find", 0.2), group("embed", 0.85)))

    assert seats(plan, cast({7: "embed"}, {"find": 1}), rooms, {7: 0}.get) == {"find": [1]}
    assert seats(plan, cast({7: "embed"}, {"find": 1}), rooms, {7: 1}.get) == {"find": [0]}
    assert seats(plan, cast({}, {"find": 1, "embed": 1}), rooms, {}.get) == {"embed": [0], "find": [1]}


def test_replicas_have_a_gpu_each_while_there_are_as_many(rooms):
    plan = Plan((group("find", 0.15), group("embed", 0.8)))

    assert seats(plan, cast({7: "embed"}, {"find": 1}), rooms, {7: 0}.get) == {"find": [1]}
    assert seats(plan, cast({7: "embed"}, {"find": 1}), rooms[:1], {7: 0}.get) == {"find": [0]}


def test_they_are_packed_where_spreading_them_leaves_one_without_room(rooms):
    plan = Plan((group("find", 0.5, replicas=2), group("embed", 0.4, memory=16 * GIB)))

    found = seats(plan, cast({}, {"find": 2, "embed": 1}), rooms, {}.get)

    assert found == {"find": [1, 1], "embed": [0]}


def test_what_other_apps_have_reserved_is_left_to_them():
    plan = Plan((group("find", 0.5, replicas=2),))
    rooms = [Room(16 * GIB, floor=0.4), Room(16 * GIB)]

    assert seats(plan, cast({}, {"find": 2}), rooms, {}.get) == {"find": [1, 1]}


def test_none_is_found_where_those_that_stay_leave_no_room(rooms):
    plan = Plan((group("find", 0.5), group("embed", 0.6, replicas=2)))

    assert seats(plan, cast({1: "embed", 2: "embed"}, {"find": 1}), rooms, {1: 0, 2: 1}.get) is None


def test_groups_without_a_gpu_and_fluid_ones_are_seated_otherwise(rooms):
    cpu = Group(stages=("read",))
    fluid = Group(
        stages=("find",),
        gpu=GpuShare(fraction=0.5),
        fluid=Fluid(share=0.5, lanes=(Lane(stage="find", fraction=0.5, max_size=1),)),
    )

    assert seats(Plan((cpu,)), cast({}, {"read": 1}), rooms, {}.get) == {}
    assert seats(Plan((cpu, fluid)), cast({}, {"read": 1, "find": 1}), rooms, {}.get) is None


def test_a_new_replica_is_seated_there_though_the_one_that_stays_has_the_whole_gpu_until_then():
    """On empty GPUs the large group would be the first to be placed, so on that very GPU."""
    cards = [Found(uuid="", name="v100", sms=80, memory=16 * GIB)] * 2
    gpus = Gpus("app", cards, folder="", backend="emulated")
    before = Group(stages=("find", "embed"), gpu=GpuShare(fraction=1.0, memory=GIB))
    plan = Plan((group("find", 0.2), group("embed", 0.85)))

    async def run():
        await gpus.start()
        try:
            gpus.seat(1, before)
            stays = cast({1: "find"}, {"embed": 1})
            gpus.prefer(seats(plan, stays, gpus.without_ours(), gpus.device))
            return gpus.device(1), gpus.seat(2, plan.groups[1]).device
        finally:
            gpus.stop()

    assert asyncio.run(run()) == (0, 1)
