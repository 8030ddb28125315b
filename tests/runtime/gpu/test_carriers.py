"""Leases carried out on a real GPU, with a driver that is not there."""

import os
import sys
from types import SimpleNamespace

import pytest
from msgspec import structs

from regrain.errors import SpecError
from regrain.wire.frames import Entitle
from regrain.wire.lease import Share
from regrain_runtime.gpu.carriers import FIRST_GUESS, Real, carrier
from regrain_runtime.gpu.driver import CudaDriver, DriverError, GpuError
from regrain_runtime.gpu.fake import Card, CUresult, FakeCuda, uuid_of
from regrain_runtime.gpu.green import GreenBackend
from regrain_runtime.gpu.lease import LeaseBackend

GIB = 1 << 30


def entitled(fraction=0.5, backend="green", **share):
    return Entitle(
        path="/run/gpu0.sock",
        name="app/a",
        backend=backend,
        device=0,
        fraction=fraction,
        share=Share(memory=GIB, **share),
        uuid=uuid_of(0),
    )


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cuda(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "what it was")
    return FakeCuda()


def real(cuda, clock, **wanted):
    return Real(entitled(**wanted), GreenBackend(CudaDriver(cuda), uuid=uuid_of(0)), clock)


def test_a_replica_sees_its_gpu_alone_before_the_first_call_and_has_a_lane_of_its_share(cuda, clock):
    found = real(cuda, clock)

    assert os.environ["CUDA_VISIBLE_DEVICES"] == uuid_of(0)
    [stream] = cuda.streams
    assert len(cuda.seen(stream)) == 64  # of 132: half, in atoms of 8
    assert found.options()["user_compute_stream"] == str(stream)
    assert found.options()["gpu_mem_limit"] == str(GIB)


TWO = (Card(name="A"), Card(name="B", sms=64))


def second(cuda, clock, backend=LeaseBackend):
    return Real(
        structs.replace(entitled(), uuid=uuid_of(1)), backend(CudaDriver(cuda), uuid=uuid_of(1)), clock
    )


@pytest.mark.parametrize("backend", [LeaseBackend, GreenBackend])
def test_a_replica_runs_on_the_gpu_that_it_was_given(monkeypatch, clock, backend):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cuda = FakeCuda(cards=TWO)

    second(cuda, clock, backend)

    assert (cuda.visible, list(cuda.primary)) == ((1,), [1])


@pytest.mark.parametrize("backend", [LeaseBackend, GreenBackend])
def test_one_that_has_used_cuda_before_and_sees_another_gpu_is_refused(monkeypatch, clock, backend):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    cuda = FakeCuda(cards=TWO)
    CudaDriver(cuda).devices()  # as torch.cuda.is_available() does

    with pytest.raises(
        GpuError, match=rf"sees {uuid_of(0)} and was given {uuid_of(1)}: CUDA was used before"
    ):
        second(cuda, clock, backend)
    assert cuda.holds == 0


def test_a_call_ends_when_the_device_has_done_its_work_and_says_how_long_the_next_may_take(cuda, clock):
    found = real(cuda, clock)
    assert found.expected("a", 1, 0.5) == FIRST_GUESS

    for seconds in (0.2, 0.6):
        before = len(cuda.calls)
        with found.kernel("a", 1, None):
            clock.now += seconds
            assert cuda.calls[before:] == []
        assert any("Synchronize" in call for call in cuda.calls[before:])

    assert found.expected("a", 1, 0.5) == pytest.approx(0.6 - 0.75 * 0.4)
    assert found.expected("b", 1, 0.5) == FIRST_GUESS


def test_a_stage_that_fails_has_the_device_waited_for_all_the_same(cuda, clock):
    found = real(cuda, clock)
    before = len(cuda.calls)

    with pytest.raises(ValueError, match="bad"), found.kernel("a", 1, None):
        raise ValueError("bad")

    assert any("Synchronize" in call for call in cuda.calls[before:])


def test_a_replica_whose_gpu_failed_ends(cuda, clock):
    found = real(cuda, clock)
    cuda.refuses = {"cuStreamSynchronize": (1, CUresult.CUDA_ERROR_INVALID_VALUE)}

    with pytest.raises(SystemExit), found.kernel("a", 1, None):
        pass


def test_another_share_is_a_lane_of_another_size_and_everything_is_given_back(cuda, clock):
    found = real(cuda, clock)

    found.follow(entitled(fraction=0.25))
    [stream] = cuda.streams
    assert len(cuda.seen(stream)) == 32
    found.stop()

    assert cuda.holds == 0


def test_other_memory_leaves_the_stream_that_sessions_keep_to(cuda, clock):
    found = real(cuda, clock)
    before = found.options()
    more = entitled(weight=2.0)
    more = structs.replace(more, share=structs.replace(more.share, memory=2 * GIB))
    assert not found.moves(more)

    found.follow(more)

    assert int(before["user_compute_stream"]) in cuda.streams
    assert found.options() == {**before, "gpu_mem_limit": str(2 * GIB)}


@pytest.mark.parametrize(
    "other", [entitled(fraction=0.25), entitled(priority=1)], ids=["another part", "another priority"]
)
def test_it_is_told_before_the_stream_that_sessions_keep_to_ends(cuda, clock, other):
    found = real(cuda, clock)
    stream = int(found.options()["user_compute_stream"])
    assert found.moves(other)

    found.follow(other)

    assert stream not in cuda.streams


@pytest.fixture
def fractions(monkeypatch):
    """Have torch, which sees a GPU; return the fractions of its memory that it is held to, in order."""
    held = []
    torch = SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: True,
            set_per_process_memory_fraction=lambda fraction, _device: held.append(fraction),
        )
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return held


def turns(memory):
    share = structs.replace(entitled(backend="lease").share, memory=memory)
    return structs.replace(entitled(backend="lease"), share=share)


def test_torch_is_held_to_the_memory_of_a_share_while_a_model_loads_and_follows_it(cuda, clock, fractions):
    found = Real(turns(GIB), LeaseBackend(CudaDriver(cuda), uuid=uuid_of(0)), clock)
    with found.loading("a", GIB):
        assert fractions[-1] == pytest.approx(1 / 141)

    found.follow(turns(2 * GIB))
    assert fractions[-1] == pytest.approx(2 / 141)
    with found.loading("b", GIB):
        assert fractions[-1] == pytest.approx(2 / 141)
    found.follow(turns(GIB))
    assert fractions[-1] == pytest.approx(1 / 141)
    found.follow(turns(0))
    assert fractions[-1] == 1.0


def test_turns_on_the_whole_gpu_have_no_stream_that_could_end(cuda, clock):
    found = Real(entitled(backend="lease"), LeaseBackend(CudaDriver(cuda), uuid=uuid_of(0)), clock)

    assert not found.moves(entitled(fraction=0.25, priority=1))


def test_another_function_with_the_same_share_has_the_same_lane(cuda, clock):
    found = real(cuda, clock)
    before = len(cuda.calls)

    found.follow(structs.replace(entitled(weight=2.0), name="app/b"))

    assert cuda.calls[before:] == []


def test_a_share_that_the_driver_refuses_leaves_the_lane_as_it_was(cuda, clock):
    found = real(cuda, clock)
    before = found.options()
    cuda.refuses = {"cuGreenCtxCreate": (2, CUresult.CUDA_ERROR_OUT_OF_MEMORY)}

    with pytest.raises(DriverError, match="cuGreenCtxCreate"):
        found.follow(entitled(fraction=0.25))

    assert found.options() == before


def test_a_backend_that_there_is_none_of_is_refused_with_those_that_there_are(clock):
    with pytest.raises(SpecError, match=r"'red'.*lease, green, mps"):
        carrier(entitled(backend="red"), clock)


def test_without_a_driver_the_reason_is_told(clock, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(GpuError):
        carrier(entitled(backend="lease"), clock)
