"""Which replica is on which device, and what it declares there; MIG instances, each one replica's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
from msgspec import structs

from regrain import GPU, App
from regrain.errors import RequestError, SpecError
from regrain.grain import make_plan
from regrain.plan import GpuShare, Group, Plan
from regrain.wire import frames
from regrain.wire.lease import LeaseError
from regrain_runtime.gpu.client import Client
from regrain_watchdog.front.arbiters import ending
from regrain_watchdog.front.gpus import Gpus
from regrain_watchdog.front.survey import Found, Instance
from regrain_watchdog.gpu.ending import Terminator, kill
from regrain_watchdog.gpu.limits import Device
from regrain_watchdog.gpu.server import Server

GIB = 1 << 30


def instance(slices: int) -> Instance:
    return Instance(
        uuid=f"MIG-{slices}",
        name=f"H200 MIG-{slices}",
        sms=16 * slices,
        memory=16 * GIB * slices,
        slices=slices,
        of=7,
    )


def group(name: str, fraction: float, *, memory: int = GIB, replicas: int = 1) -> Group:
    return Group(stages=(name,), replicas=replicas, gpu=GpuShare(fraction=fraction, memory=memory, floor=0.1))


@pytest.fixture
def cut() -> Iterator[Callable[..., Gpus]]:
    """Make a GPU in instances of so many sevenths."""
    made = []

    def make(*slices: int) -> Gpus:
        made.append(Gpus("app", [instance(number) for number in slices], folder="", backend="mig"))
        return made[-1]

    yield make
    for gpus in made:
        gpus.stop()


@pytest.fixture
def seated():
    """Serve the arbiters of instances, seat a replica of each group, and tell who is where."""

    def seat(gpus: Gpus, *groups: Group) -> list[frames.Entitle]:
        async def run() -> list[frames.Entitle]:
            await gpus.start()
            try:
                return [gpus.seat(number, one) for number, one in enumerate(groups)]
            finally:
                gpus.stop()

        return asyncio.run(run())

    return seat


def test_a_replica_has_the_smallest_instance_that_covers_its_share_and_memory_to_itself(cut, seated):
    groups = [group("a", 1 / 7), group("b", 0.1, memory=20 * GIB), group("c", 0.1), group("d", 0.5)]

    given = seated(cut(1, 2, 4), *groups)

    assert [one.uuid for one in given] == ["MIG-1", "MIG-2", "MIG-4", "MIG-1"]
    assert {(one.backend, one.fraction, one.share.floor) for one in given} == {("mig", 1.0, 1.0)}


def test_one_that_finds_no_instance_free_is_told_who_has_it_by_the_arbiter(cut, seated, caplog):
    (_, second) = seated(cut(1), group("a", 0.1), group("b", 0.1))

    assert second.uuid == "MIG-1"
    assert "no GPU has room for another replica of b" in caplog.text


def test_a_share_above_every_instance_is_refused_naming_what_there_is(cut):
    with pytest.raises(SpecError) as error:
        cut(1, 2).check(Plan((group("a", 0.5),)))

    assert str(error.value).startswith(
        "a replica of a needs 1024 MiB of a GPU and reserves 0.1 of the SMs and 0.5 of one"
    )
    assert "GPU 1 (H200 MIG-2) 32768 MiB and 1 of its SMs, which are 0.286 of a GPU" in str(error.value)


def test_more_replicas_than_instances_that_cover_them_are_refused(cut):
    cut(1, 2, 4).check(Plan((group("a", 2 / 7, replicas=2), group("b", 0.1))))

    with pytest.raises(SpecError, match="do not fit together"):
        cut(1, 2, 4).check(Plan((group("a", 2 / 7, replicas=3),)))


def test_an_instance_is_reserved_whole_so_that_its_arbiter_refuses_a_second_replica(cut):
    def use(first: frames.Entitle, second: frames.Entitle) -> None:
        with contextlib.ExitStack() as stack:
            one, other = (
                stack.enter_context(contextlib.closing(Client(each.path, name, each.share)))
                for each, name in ((first, "other/a"), (second, "app/b"))
            )
            stack.enter_context(one.lease(first.fraction, seconds=0.1, timeout=60))
            with pytest.raises(
                LeaseError, match=r"wants 1 of the GPU for sure, 0 is left; reserved by: other/a"
            ):
                stack.enter_context(other.lease(second.fraction, seconds=0.1, timeout=60))

    async def run() -> None:
        gpus = cut(1)
        await gpus.start()
        try:
            await asyncio.to_thread(use, *(gpus.seat(number, group("a", 0.1)) for number in range(2)))
        finally:
            gpus.stop()

    asyncio.run(run())


@pytest.fixture
def node() -> Iterator[Callable[..., Gpus]]:
    """Make a node of one card for the app `pages`, whose stages keep loaded what a setting says."""
    made = []
    app = App("pages")
    app.stage(gpu=GPU(memory="1Gi", share=0.5))(find)
    app.stage()(crop)
    app.stage(gpu=GPU(memory="2Gi"))(read)

    @app.flow
    def flow(x: int) -> int:
        return app.stages["read"](app.stages["crop"](app.stages["find"](x)))

    def make(backend: str = "emulated", keeps: str = "plan") -> tuple[Gpus, Plan]:
        card = Found(uuid="", name="v100", sms=80, memory=16 * GIB)
        gpus = Gpus("pages", [card], folder="", backend=backend, manifest=app.manifest(), keeps=keeps)
        made.append(gpus)
        return gpus, make_plan(app.manifest(), "fine")

    yield make
    for gpus in made:
        gpus.stop()


def find(x: int) -> int:
    return x


def crop(x: int) -> int:
    return x


def read(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("keeps", "memory"),
    [
        pytest.param("plan", [1, None, 2], id="its group's"),
        pytest.param("all", [3, 3, 3], id="all"),
        pytest.param("find", [1, 1, 3], id="one more"),
        pytest.param("crop", [1, None, 2], id="one without a GPU"),
    ],
)
def test_a_replica_declares_memory_for_all_stages_that_it_keeps_loaded(node, seated, keeps, memory):
    gpus, plan = node(keeps=keeps)
    gpus.check(plan)

    found = seated(gpus, *plan.groups)

    assert [entitled and entitled.share.memory // GIB for entitled in found] == memory


def test_what_is_kept_loaded_beside_a_group_must_fit(node):
    gpus, plan = node(keeps="all")
    plan = Plan(tuple(structs.replace(one, replicas=2) for one in plan.groups))  # 6 replicas of 3 GiB

    with pytest.raises(SpecError, match="each of 2 replicas of crop needs 3072 MiB of a GPU"):
        gpus.check(plan)


def test_replicas_that_fit_only_in_one_way_are_seated_in_that():
    groups = [group(name, 0.5, memory=size * GIB) for name, size in (("a", 6), ("b", 6), ("c", 16))]
    cards = [Found(uuid="", name="v100", sms=80, memory=16 * GIB)] * 2
    gpus = Gpus("app", cards, folder="", backend="emulated")

    async def run() -> list[int]:
        await gpus.start()
        try:
            gpus.check_room(Plan(tuple(groups)))
            return [gpus.seat(number, one).device for number, one in enumerate(groups)]
        finally:
            gpus.stop()

    assert asyncio.run(run()) == [1, 1, 0]


class Strangers:
    """An observer of a device on which a process that is no client holds so many bytes."""

    def __init__(self, nbytes: int) -> None:
        self._used = {1: nbytes}

    def used(self) -> dict[int, int]:
        return self._used


@pytest.fixture
def beside(tmp_path):
    """Serve two cards of 80 GiB on which strangers hold so many, and do something with the app's view of them."""

    def run(held: tuple[int, int], do: Callable[[Gpus], object]) -> object:
        async def serve() -> object:
            servers = [
                Server(
                    tmp_path / f"gpu{number}.sock",
                    Device(sms=132, memory=80 * GIB),
                    observer=Strangers(strange * GIB),
                )
                for number, strange in enumerate(held)
            ]
            cards = [Found(uuid="", name="h100", sms=132, memory=80 * GIB)] * 2
            gpus = Gpus("app", cards, folder=str(tmp_path), backend="lease")
            with contextlib.ExitStack() as stack:
                for server in servers:
                    server.start()
                    stack.callback(server.stop)
                stack.callback(gpus.stop)
                await gpus.start()
                return do(gpus)

        return asyncio.run(serve())

    return run


def test_a_replica_goes_where_no_stranger_holds_the_memory_that_it_needs(beside):
    assert beside((60, 0), lambda gpus: gpus.seat(1, group("a", 1.0, memory=30 * GIB)).device) == 1
    assert beside((0, 60), lambda gpus: gpus.seat(1, group("a", 1.0, memory=30 * GIB)).device) == 0


def test_what_strangers_hold_everywhere_is_refused_and_told(beside):
    plan = Plan((group("a", 1.0, memory=30 * GIB),))

    with pytest.raises(RequestError, match=r"no room for a .*GPU 0: undeclared 61440 MiB") as error:
        beside((60, 55), lambda gpus: gpus.check_room(plan))

    assert "GPU 1 (h100) 25600 MiB" in error.value.detail


@pytest.mark.parametrize(("backend", "fraction"), [("lease", 1.0), ("emulated", 0.5)])
def test_where_processes_take_turns_on_a_whole_gpu_a_lease_is_for_all_of_it(node, seated, backend, fraction):
    gpus, plan = node(backend)

    assert seated(gpus, plan.groups[0])[0].fraction == fraction


def test_a_process_that_uses_mps_is_ended_by_its_daemon_and_any_other_at_once():
    assert isinstance(ending("mps"), Terminator)
    assert [ending(backend) for backend in ("emulated", "lease", "green", "mig")] == [kill] * 4
