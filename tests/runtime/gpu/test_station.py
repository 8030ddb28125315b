"""A replica's stages and the arbiter of their GPU: memory is declared at the load, a lease taken at each call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time

import pytest

from regrain import GPU, App
from regrain.context import Context, current_build, entered
from regrain.errors import RequestError, SpecError
from regrain.wire.frames import Entitle, Load
from regrain.wire.lease import LeaseError, Share
from regrain_runtime import loop
from regrain_runtime.gpu.carriers import Real, carrier
from regrain_runtime.gpu.choose import backend_for_replica
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake import CUresult, FakeCuda, uuid_of
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.station import Refusal, Station
from regrain_watchdog.gpu.limits import Device, Limits
from regrain_watchdog.gpu.operate import look
from regrain_watchdog.gpu.server import Server

GIB = 1 << 30
LONGEST = 0.05
"""Seconds that a lease of the tests' arbiter is for at most."""
SCENARIO = '[emulated.stages.work]\nmodel = "alexnet"\nload_time = "1ms"\n'
LONG = '[emulated.stages.long]\nmodel = "alexnet"\nscale = 50.0\nload_time = "1ms"\n'


class Serving:
    """An arbiter on a loop in a thread of its own, until the block ends."""

    def __init__(self, path):
        self.path = path
        self._begun = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        self._server = self._start()
        self._begun.set()
        await self._end.wait()
        self._server.stop()

    def _start(self) -> Server:
        server = Server(self.path, Device(sms=80, memory=4 * GIB), limits=Limits(longest=LONGEST))
        server.start()
        return server

    def restart(self) -> None:
        """Have another arbiter take its place, which knows nobody."""

        async def again() -> None:
            self._server.stop()
            self._server = self._start()

        asyncio.run_coroutine_threadsafe(again(), self._loop).result(60)

    def __enter__(self):
        self._thread.start()
        assert self._begun.wait(60)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(60)


@pytest.fixture
def serving(tmp_path):
    with Serving(tmp_path / "gpu0.sock") as served:
        yield served


@pytest.fixture
def arbiter(serving):
    """Return the path of an arbiter."""
    return serving.path


@pytest.fixture
def entitled(tmp_path, arbiter):
    (tmp_path / "scenario.toml").write_text(SCENARIO + LONG)

    def entitle(name, memory=GIB, fraction=0.5, fractions=None, **share):
        return Entitle(
            path=str(arbiter),
            name=name,
            backend="emulated",
            device=0,
            fraction=fraction,
            share=Share(memory=memory, **share),
            card="v100",
            scenario=str(tmp_path / "scenario.toml"),
            fractions=fractions or {},
        )

    return entitle


@pytest.fixture
def station(entitled):
    made = []

    def make(name, memory=GIB, clock=time.monotonic, carry=carrier, **share):
        made.append(Station(entitled(name, memory, **share), clock=clock, carry=carry))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_replica_is_known_with_its_memory_once_it_has_loaded_and_before_it_is_called(station, arbiter):
    with station("app/work").loading("work", GIB):
        pass

    (member,) = look(arbiter).members
    assert (member.name, member.pid, member.share.memory) == ("app/work", os.getpid(), GIB)


def test_a_stage_whose_replica_has_no_room_is_not_loaded_and_learns_who_has_it(station):
    with station("app/first", memory=3 * GIB).loading("work", 3 * GIB):
        pass

    with (
        pytest.raises(
            SpecError, match=r"stage 'work' needs a GPU: .* held by: app/first \(process \d+\) 3 GiB"
        ),
        station("app/second", memory=2 * GIB).loading("work", 2 * GIB),
    ):
        pytest.fail("it was loaded")


def test_a_call_runs_under_a_lease_of_its_share(station, arbiter):
    gpu = station("app/work")
    with gpu.loading("work", GIB):
        pass

    with entered((Context(call_id="one"),)), gpu.running("work", 1):
        (member,) = look(arbiter).members
        assert member.sms == 40

    assert gpu.waited() > 0
    assert gpu.waited() == 0


def test_a_call_that_lasts_longer_than_any_lease_renews_it_between_kernels(station, arbiter):
    gpu = station("app/long", clock=lambda: 0.0)  # however late the call begins, all of it is to come
    with gpu.loading("long", GIB):
        pass
    began = time.monotonic()

    with entered((Context(call_id="one"),)), gpu.running("long", 2):
        pass

    (books,) = look(arbiter).usage
    assert time.monotonic() - began > 2 * LONGEST
    assert books.grants > 2


class Renewing:
    """A carrier whose calls compute for a second and renew their lease, so often; all on the clock of the test."""

    def __init__(self, clock, times):
        self._clock, self._times = clock, times

    def takes_turns(self):
        return False

    def expected(self, *_):
        return LONGEST

    @contextlib.contextmanager
    def kernel(self, stage, count, lease):
        yield
        for _ in range(self._times):
            self._clock.now += 1.0
            lease.renew(timeout=60)

    def stop(self):
        pass


class Waiting:
    """A clock that goes on by ten seconds while a call waits, and what a station says of its calls."""

    def __init__(self):
        self.now, self.said = 0.0, []

    def __call__(self):
        return self.now

    def began(self, stage, ran):
        self.said.append((stage, ran))
        self.now += 0.0 if stage else 10.0


def test_the_wait_for_a_renewal_is_no_time_of_the_stage(entitled):
    clock = Waiting()
    gpu = Station(entitled("app/work"), clock=clock, carry=lambda *_: Renewing(clock, 2), began=clock.began)

    with gpu.running("work", 1):
        pass
    gpu.close()

    assert clock.said == [("", 0.0), ("work", 1.0), ("", 0.0), ("work", 2.0)]
    assert gpu.waited() == 20.0


@pytest.fixture
def idle(attach, entitled, monkeypatch):
    """The front of a replica of one stage that needs a GPU, and is not called."""
    app = App("idle")

    @app.stage(gpu=GPU(memory=GIB))
    def work(item: int) -> int:
        return item

    @app.flow
    def run(item: int) -> int:
        return work(item)

    monkeypatch.setattr(loop, "TEND", 0.01)
    front = attach(app)
    front.send(entitled("app/work"), Load(("work",)))
    front.receive(), front.receive()
    yield front
    front.end()
    front.replica._executor.device.close()


def members(arbiter, meanwhile=lambda: None):
    """Return who is in the books of an arbiter, as soon as anybody is; do something until then."""
    until = time.monotonic() + 60
    while not (found := look(arbiter).members):
        assert time.monotonic() < until, "nobody is in the books"
        meanwhile()
    return found


def test_a_replica_that_nobody_calls_is_in_the_books_of_the_next_arbiter(idle, serving):
    serving.restart()

    (member,) = members(serving.path)
    assert (member.name, member.share.memory) == ("app/work", GIB)


def test_one_that_the_next_arbiter_has_no_room_for_goes_on_asking(station, serving):
    gpu = station("app/late", memory=3 * GIB)
    with gpu.loading("work", GIB):
        pass
    serving.restart()
    other = station("app/early", memory=2 * GIB)
    with other.loading("work", GIB):
        pass
    gpu.tend()
    assert [member.name for member in members(serving.path)] == ["app/early"]

    other.close()

    assert [member.name for member in members(serving.path, gpu.tend)] == ["app/late"]


def test_one_that_has_loaded_nothing_stays_out_of_the_books(station, arbiter):
    station("app/work").tend()

    assert look(arbiter).members == ()


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return FakeCuda()


@pytest.fixture
def green(station, cuda):
    """A replica in a green context of a driver that is not there, known to its arbiter."""

    def carry(entitled, clock):
        return Real(entitled, GreenBackend(CudaDriver(cuda), uuid=uuid_of(0)), clock)

    gpu = station("app/work", carry=carry)
    with gpu.loading("work", GIB):
        pass
    return gpu


def test_one_that_was_demoted_from_mps_takes_turns_whatever_its_share(
    station, cuda, arbiter, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))  # no daemon of MPS is asked

    def carry(entitled, clock):
        return Real(entitled, backend_for_replica("mps", CudaDriver(cuda), uuid=uuid_of(0)), clock)

    demoted = [
        station(name, carry=carry, fraction=0.25, fractions={"work": 0.1}) for name in ("app/a", "app/b")
    ]

    for gpu in demoted:
        with gpu.running("work", 1):
            assert look(arbiter).free_sms == 0


@pytest.fixture
def session(attach, green, cuda, tmp_path):
    """The front of a replica of one stage, whose session keeps to the stream that it is given, and what became of them.

    The stage cannot be loaded again once there is a file `gone`.
    """
    app, streams = App("sessions"), []

    class Session:
        def __init__(self) -> None:
            if (tmp_path / "gone").exists():
                raise FileNotFoundError("no model")
            streams.append(int(current_build().cuda()["user_compute_stream"]))

        def __call__(self, item: int) -> int:
            return item

        def __del__(self) -> None:
            streams.append("dropped while it is there" if streams[0] in cuda.streams else "dropped too late")

    work = app.stage(gpu=GPU(memory=GIB), name="work")(Session)

    @app.flow
    def run(item: int) -> int:
        return work(item)

    front = attach(app)
    front.replica._executor.device = green
    front.send(Load(("work",)))
    front.receive(), front.receive()
    yield front, streams
    front.end()


def test_a_replica_makes_its_sessions_anew_in_the_lane_of_another_share(session, cuda, entitled):
    front, streams = session

    front.send(entitled("app/work", fraction=0.25), Load(()))

    assert front.receive().stages == ("work",)
    first, dropped, second = streams
    assert dropped == "dropped while it is there"
    assert list(cuda.streams) == [second] != [first]


def test_a_replica_that_cannot_make_its_sessions_anew_ends(session, entitled, tmp_path):
    front, _ = session
    (tmp_path / "gone").touch()

    with pytest.raises(SystemExit):
        front.replica._handle(entitled("app/work", fraction=0.25))


@pytest.mark.parametrize("name", ["app/work", "app/other"])
def test_a_share_that_the_device_refuses_leaves_the_arbiter_as_it_was(green, cuda, entitled, arbiter, name):
    cuda.refuses = {"cuGreenCtxCreate": (2, CUresult.CUDA_ERROR_OUT_OF_MEMORY)}

    with pytest.raises(GpuError, match="cuGreenCtxCreate"):
        green.follow(entitled(name, 2 * GIB, fraction=0.25))

    (member,) = look(arbiter).members
    assert (member.name, member.share.memory) == ("app/work", GIB)
    cuda.refuses = {}
    green.follow(entitled(name, 2 * GIB, fraction=0.25))
    (member,) = look(arbiter).members
    assert (member.name, member.share.memory) == (name, 2 * GIB)


@pytest.mark.parametrize("name", ["app/work", "app/other"])
def test_a_share_that_the_arbiter_refuses_leaves_the_device_as_it_was(green, cuda, entitled, arbiter, name):
    before = [len(cuda.seen(stream)) for stream in cuda.streams]

    with pytest.raises(LeaseError):
        green.follow(entitled(name, 5 * GIB, fraction=0.25))

    assert [len(cuda.seen(stream)) for stream in cuda.streams] == before
    assert green.options()["gpu_mem_limit"] == str(GIB)
    (member,) = look(arbiter).members
    assert (member.name, member.share.memory) == ("app/work", GIB)


def test_where_there_is_no_gpu_nothing_is_loaded_or_run():
    gpu = Refusal(SpecError("there is none"))

    with pytest.raises(SpecError, match="stage 'work' needs a GPU: there is none"):
        gpu.loading("work", GIB)
    with pytest.raises(RequestError, match="stage 'work' needs a GPU: there is none"):
        gpu.running("work", 1)
