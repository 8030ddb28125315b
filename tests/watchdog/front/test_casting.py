"""Which living replicas a plan takes over under each way of sharing a GPU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain import GPU, App
from regrain.errors import RequestError
from regrain.grain import make_plan
from regrain.plan import GpuShare, Group
from regrain_watchdog.front.casting import cast
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.survey import Found
from regrain_watchdog.policy import resident
from regrain_watchdog.policy.resident import Cast, Living

GIB = 1 << 30


def see(x: int) -> int:
    return x


def read(x: int) -> int:
    return x


@pytest.fixture
def app() -> App:
    """An app of two stages of 1 and 2 GiB."""
    app = App("pages")
    app.stage(gpu=GPU(memory="1Gi"))(see)
    app.stage(gpu=GPU(memory="2Gi"))(read)

    @app.flow
    def flow(x: int) -> int:
        return app.stages["read"](app.stages["see"](x))

    return app


@pytest.fixture
def on(app) -> Callable[..., object]:
    """Do something with the app's card, shared by a backend."""

    def run(backend: str, do: Callable[[Gpus], object]) -> object:
        async def serve() -> object:
            card = Found(uuid="", name="h100", sms=132, memory=80 * GIB)
            gpus = Gpus("pages", [card], folder="", backend=backend, manifest=app.manifest())
            await gpus.start()
            try:
                return do(gpus)
            finally:
                gpus.stop()

        return asyncio.run(serve())

    return run


def group(name: str, fraction: float = 0.5, *, replicas: int = 1, memory: int = GIB, **more: float) -> Group:
    return Group(
        stages=tuple(name.split("+")),
        replicas=replicas,
        gpu=GpuShare(fraction=fraction, memory=memory, **more),
    )


def living(gpus: Gpus, *groups: Group) -> list[Living]:
    """Seat a replica of each group, with the group's stages loaded."""
    for number, one in enumerate(groups):
        gpus.seat(number, one)
    return [Living(number, one.name, frozenset(one.stages)) for number, one in enumerate(groups)]


@pytest.mark.parametrize(
    ("after", "is_taken_over"),
    [
        pytest.param(
            group("see", weight=2.0, floor=0.1, ceiling=0.9), True, id="what the arbiter alone sees to"
        ),
        pytest.param(group("see", 0.25), False, id="another fraction"),
        pytest.param(group("see", memory=2 * GIB), False, id="more memory"),
        pytest.param(group("see", priority=1), False, id="another priority"),
    ],
)
def test_under_mps_a_replica_goes_on_with_the_share_that_it_began_with_or_another_is_started(
    on, after, is_taken_over
):
    found = on("mps", lambda gpus: cast(living(gpus, group("see")), [after], gpus))

    kept = Cast(homes={0: "see"}, guests={}, missing={})
    assert found == (kept if is_taken_over else Cast(homes={}, guests={"see": (0,)}, missing={"see": 1}))


@pytest.mark.parametrize("backend", ["lease", "green", "emulated"])
def test_elsewhere_a_replica_follows_its_share(on, backend):
    found = on(backend, lambda gpus: cast(living(gpus, group("see")), [group("see", 0.25)], gpus))

    assert found.homes == {0: "see"}


def test_under_mps_replicas_that_began_with_memory_to_spare_go_on(on):
    def do(gpus: Gpus) -> Cast:
        groups = [group("see"), group("read", memory=2 * GIB)]
        gpus.keeps = resident.ALL
        alive = living(gpus, *groups)
        gpus.keeps = resident.PLAN
        return cast(alive, groups, gpus)

    assert on("mps", do) == Cast(homes={0: "see", 1: "read"}, guests={}, missing={})


@pytest.mark.parametrize(
    ("memories", "found"),
    [
        pytest.param([1, 3], Cast(homes={0: "see", 1: "read"}, guests={}, missing={}), id="to whom it does"),
        pytest.param(
            [3], Cast(homes={0: "see"}, guests={"read": (0,)}, missing={"read": 1}), id="handed out once"
        ),
        pytest.param(
            [1, 1], Cast(homes={0: "see"}, guests={"read": (0, 1)}, missing={"read": 1}), id="too little"
        ),
    ],
)
def test_under_mps_the_memory_that_replicas_began_with_goes_where_it_is_needed(on, memories, found):
    def do(gpus: Gpus) -> Cast:
        living(gpus, *(group("see", memory=memory * GIB) for memory in memories))
        alive = [Living(number, "see", frozenset({"see", "read"})) for number in range(len(memories))]
        return cast(alive, [group("see"), group("read", memory=2 * GIB)], gpus)

    assert on("mps", do) == found


def test_under_mps_each_replica_goes_where_its_share_is_and_none_is_missing_for_want_of_order(on):
    def do(gpus: Gpus) -> Cast:
        both = [group("see+read", 0.25, memory=3 * GIB), group("see+read", 0.5, memory=3 * GIB)]
        return cast(living(gpus, *both), [group("see+read", 0.5, memory=3 * GIB, replicas=2)], gpus)

    assert on("mps", do) == Cast(homes={1: "see+read"}, guests={}, missing={"see+read": 1})


def test_under_mps_what_a_replica_is_booked_with_stays_what_it_began_with(on):
    def do(gpus: Gpus) -> tuple[object, object]:
        living(gpus, group("see", 0.5))
        moved = gpus.move(0, group("read", 0.25, memory=2 * GIB, weight=3.0))
        with pytest.raises(RequestError, match="a process keeps the memory that it began with"):
            gpus.check_loads({0: (group("read"), ("see", "read"))})
        return moved, gpus.rooms()[0].memory

    moved, left = on("mps", do)

    assert (moved.fraction, moved.share.memory, moved.share.weight) == (0.5, GIB, 3.0)
    assert left == 79 * GIB


GROUPS = st.lists(st.sampled_from(["see", "read", "see+read"]), max_size=4, unique=True)


@given(GROUPS, GROUPS, st.integers(0, 3))
@settings(max_examples=30)
def test_where_no_share_is_fixed_the_cast_is_what_it_is_without_a_gpu(before, after, replicas):
    groups = [group(name, replicas=replicas) for name in after]
    alive = [Living(number, name, frozenset(name.split("+"))) for number, name in enumerate(before)]
    cards = [Found(uuid="", name="v100", sms=80, memory=80 * GIB)]
    gpus = Gpus("pages", cards, folder="", backend="emulated")

    found = cast(alive, groups, gpus)
    gpus.stop()

    assert found == cast(alive, groups, None) == resident.cast(alive, groups)


def test_the_plan_of_the_app_is_cast_whole(on, app):
    plan = make_plan(app.manifest(), "fine")

    found = on("mps", lambda gpus: cast(living(gpus, *plan.groups), plan.groups, gpus))

    assert found.homes == {0: "see", 1: "read"}
