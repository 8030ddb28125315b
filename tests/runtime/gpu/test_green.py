from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver, DriverError, GpuError
from regrain_runtime.gpu.fake import Card, CUresult, FakeCuda
from regrain_runtime.gpu.green import GreenBackend

A_THIRD, HALF, ALL = Allowance(part=1 / 3), Allowance(part=0.5), Allowance(part=1.0)
SPLIT = "cuDevSmResourceSplitByCount"
OPENING = ["cuDevResourceGenerateDesc", "cuDeviceGet", "cuGreenCtxCreate", "cuGreenCtxStreamCreate"]


def green(cuda, **settings):
    return GreenBackend(CudaDriver(cuda), **settings)


def sets(cuda, lanes):
    return [cuda.seen(lane.stream) for lane in lanes]


def test_a_device_is_split_once_however_many_lanes_it_has():
    cuda = FakeCuda()
    backend = green(cuda)

    lanes = [backend.lane(Allowance(part=part)) for part in (0.5, 0.25, 0.1)]
    backend.resize(lanes[2], Allowance(part=0.2))

    assert cuda.calls.count(SPLIT) == 1


def test_two_splits_would_overlap():
    """The trap: what two of torch's own GreenContext.create(num_sms=64) do."""
    driver = CudaDriver(FakeCuda())
    whole = driver.sms(0)

    first, second = (driver.split(whole, 1, 64, fine=False)[0][0] for _ in range(2))

    assert first.handle.sms == second.handle.sms


def test_parts_of_two_splits_cannot_be_joined():
    driver = CudaDriver(FakeCuda())
    parts = [driver.split(driver.sms(0), 1, 8, fine=False)[0][0] for _ in range(2)]

    with pytest.raises(DriverError, match="cuDevResourceGenerateDesc: CUDA_ERROR_INVALID_RESOURCE_CONFIG"):
        driver.context(0, parts)


def test_the_calls_of_a_first_lane_are_in_this_order():
    cuda = FakeCuda()

    green(cuda).lane(HALF)

    order = [call for call in cuda.calls if call not in {"cuDeviceGet", "cuDeviceGetAttribute"}]
    assert (
        order.index("cuDevicePrimaryCtxRetain") < order.index("cuDeviceGetDevResource") < order.index(SPLIT)
    )
    assert cuda.calls[-4:] == OPENING


def test_an_h200_is_16_atoms_of_8_and_the_remainder_is_told():
    cuda = FakeCuda()
    backend = green(cuda)

    lane = backend.lane(ALL)

    assert (lane.sms, lane.short, backend.remainder) == (128, 4, 4)
    assert len(cuda.seen(lane.stream)) == 128


def test_fine_atoms_leave_no_remainder():
    backend = green(FakeCuda(), fine=True)

    assert [backend.lane(HALF).sms for _ in range(2)] == [66, 66]
    assert backend.remainder == 0


@pytest.mark.parametrize(
    ("card", "fine", "half", "short"),
    [
        pytest.param(Card(name="P100", sms=56, compute=(6, 0)), False, 28, 0, id="6.x: each SM"),
        pytest.param(Card(name="P100", sms=56, compute=(6, 0)), True, 28, 0, id="6.x: no finer"),
        pytest.param(Card(name="V100", sms=80, compute=(7, 0)), False, 40, 0, id="7.x: pairs"),
        pytest.param(Card(name="A100", sms=108, compute=(8, 0)), False, 52, 2, id="8.x: four"),
        pytest.param(Card(name="A10", sms=72, compute=(8, 6)), False, 36, 0, id="8.6: four"),
        pytest.param(Card(name="H200", sms=132, compute=(9, 0)), False, 64, 2, id="9.0: eight"),
        pytest.param(Card(name="B200", sms=148, compute=(10, 0)), False, 72, 2, id="10.0: eight"),
        pytest.param(Card(name="H200", sms=132, compute=(9, 0)), True, 66, 0, id="9.0: fine"),
    ],
)
@pytest.mark.parametrize("tells", [False, True], ids=["by table", "as the driver tells"])
def test_lanes_are_rounded_down_as_the_compute_capability_has_it(card, fine, half, short, tells):
    cuda = FakeCuda(cards=(replace(card, tells=tells),))

    lane = green(cuda, fine=fine).lane(HALF)

    assert (lane.sms, lane.short) == (half, short)


@given(st.lists(st.floats(0.0, 1.0, exclude_min=True), min_size=1, max_size=8), st.booleans())
def test_shares_that_fit_together_get_disjoint_lanes(parts, fine):
    cuda = FakeCuda()
    backend = green(cuda, fine=fine)
    shares = [min(part / sum(parts), 1.0) for part in parts]

    lanes = [backend.lane(Allowance(part=part)) for part in shares if part * 132 >= 8]

    seen = sets(cuda, lanes)
    assert sum(map(len, seen)) == len(frozenset().union(*seen)) <= 132
    assert [len(sms) for sms in seen] == [lane.sms for lane in lanes]
    assert cuda.calls.count(SPLIT) == (1 if lanes else 0)


def test_no_more_is_given_than_there_is_and_the_error_says_who_holds_it():
    backend = green(FakeCuda())
    backend.lane(HALF)
    backend.lane(A_THIRD)

    with pytest.raises(GpuError, match="40 SMs of H200 were asked for and 24 are free: other lanes hold 104"):
        backend.lane(A_THIRD)


def test_a_lane_given_back_makes_room():
    cuda = FakeCuda()
    backend = green(cuda)
    first = backend.lane(ALL)

    backend.close(first)

    assert backend.lane(ALL).sms == 128
    assert len(cuda.contexts) == 1


def test_a_share_of_less_than_an_atom_is_refused_naming_the_least():
    with pytest.raises(SpecError, match=r"8 of its 132 SMs or more, a share of 0\.0606; asked for 0\.05"):
        green(FakeCuda()).lane(Allowance(part=0.05))


def test_growing_keeps_the_lanes_own_atoms_and_the_old_context_ends_last():
    cuda = FakeCuda()
    backend = green(cuda)
    small = backend.lane(A_THIRD)
    before = cuda.seen(small.stream)
    begun = len(cuda.calls)

    large = backend.resize(small, ALL)

    assert before < cuda.seen(large.stream)
    assert cuda.calls[begun:] == ["cuStreamSynchronize", *OPENING, "cuStreamDestroy", "cuGreenCtxDestroy"]
    with pytest.raises(GpuError, match="the lane is closed"):
        backend.fence(small)


def test_a_lane_that_cannot_grow_stays_as_it_was():
    cuda = FakeCuda()
    backend = green(cuda)
    lane = backend.lane(A_THIRD)
    backend.lane(HALF)

    with pytest.raises(GpuError, match="64 are free"):
        backend.resize(lane, Allowance(part=0.6))

    backend.fence(lane)
    assert len(cuda.seen(lane.stream)) == 40


@pytest.mark.parametrize("call", OPENING[2:])
def test_a_resize_that_fails_half_way_leaves_the_old_lane(call):
    cuda = FakeCuda()
    backend = green(cuda)
    lane = backend.lane(A_THIRD)
    cuda.refuses = {call: (2, CUresult.CUDA_ERROR_OUT_OF_MEMORY)}

    with pytest.raises(DriverError, match=call):
        backend.resize(lane, HALF)

    backend.fence(lane)
    assert (len(cuda.contexts), len(cuda.streams)) == (1, 1)


def test_a_stream_that_is_refused_undoes_its_context():
    cuda = FakeCuda(refuses={"cuGreenCtxStreamCreate": (1, CUresult.CUDA_ERROR_OUT_OF_MEMORY)})
    backend = green(cuda)

    with pytest.raises(DriverError, match="cuGreenCtxStreamCreate: CUDA_ERROR_OUT_OF_MEMORY") as refused:
        backend.lane(HALF)

    assert (refused.value.call, refused.value.code) == ("cuGreenCtxStreamCreate", "CUDA_ERROR_OUT_OF_MEMORY")
    assert cuda.calls[-1] == "cuGreenCtxDestroy"
    assert backend.lane(HALF).sms == 64


def test_a_split_that_is_refused_releases_the_device_and_may_be_tried_again():
    cuda = FakeCuda(refuses={SPLIT: (1, CUresult.CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION)})
    backend = green(cuda)

    with pytest.raises(DriverError, match=SPLIT):
        backend.lane(HALF)
    assert cuda.holds == 0

    assert backend.lane(HALF).sms == 64


def test_a_driver_that_cuts_nothing_is_told():
    class Cutting(FakeCuda):
        def cuDevSmResourceSplitByCount(self, groups, whole, flags, least):  # noqa: N802
            code, parts, _, rest = super().cuDevSmResourceSplitByCount(groups, whole, flags, least)
            return code, parts, 0, rest

    with pytest.raises(GpuError, match=r"into parts of \[\] SMs"):
        green(Cutting()).lane(HALF)


def test_everything_is_undone_in_reverse_order():
    order = []

    class Noting(FakeCuda):
        def cuStreamDestroy(self, stream):  # noqa: N802
            order.append(stream)
            return super().cuStreamDestroy(stream)

    cuda = Noting()
    backend = green(cuda)
    first, second = backend.lane(HALF), backend.lane(A_THIRD)

    backend.stop()

    ends = ["cuStreamDestroy", "cuGreenCtxDestroy"] * 2
    assert order == [second.stream, first.stream]
    assert cuda.calls[-6:] == [*ends, "cuDeviceGet", "cuDevicePrimaryCtxRelease"]
    assert cuda.holds == 0


def test_an_end_that_fails_does_not_keep_the_others():
    cuda = FakeCuda()
    backend = green(cuda)
    backend.lane(HALF)
    backend.lane(A_THIRD)
    cuda.refuses = {"cuGreenCtxDestroy": (1, CUresult.CUDA_ERROR_INVALID_VALUE)}

    with pytest.raises(DriverError, match="cuGreenCtxDestroy"):
        backend.stop()

    assert cuda.holds == 0


@pytest.mark.parametrize(
    ("cuda", "said"),
    [
        pytest.param(FakeCuda(driver=12030), "CUDA 12.4 or later, this one is for 12.3", id="old driver"),
        pytest.param(FakeCuda(cards=()), "CUDA_ERROR_NO_DEVICE", id="no GPU"),
        pytest.param(FakeCuda(cards=(Card(name="M60", compute=(5, 2)),)), "M60 has 5.x", id="old GPU"),
    ],
)
def test_where_it_does_not_work_it_says_why_and_makes_no_lane(cuda, said):
    backend = green(cuda)

    assert said in backend.obstacle()
    with pytest.raises(GpuError, match=said):
        backend.lane(HALF)
    assert cuda.holds == 0


def test_a_gpu_that_is_not_there_is_named():
    assert green(FakeCuda(), ordinal=1).obstacle() == "there is no GPU 1, this process sees 1"


def test_the_second_gpu_is_the_one_that_is_used():
    cuda = FakeCuda(cards=(Card(), Card(name="B", sms=64)))

    lane = green(cuda, ordinal=1).lane(HALF)

    assert (lane.device, lane.sms) == (1, 32)
    assert cuda.primary == {1: 2}
