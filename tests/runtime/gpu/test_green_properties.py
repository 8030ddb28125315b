"""Green contexts under any order of opening, resizing and closing, with a driver that refuses now and then."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.gpu.backend import Allowance
from regrain_runtime.gpu.driver import CudaDriver, GpuError
from regrain_runtime.gpu.fake import Card, CUresult, FakeCuda
from regrain_runtime.gpu.green import GreenBackend

REFUSABLE = (
    "cuDevSmResourceSplitByCount",
    "cuDevResourceGenerateDesc",
    "cuGreenCtxCreate",
    "cuGreenCtxStreamCreate",
    "cuStreamSynchronize",
    "cuDevicePrimaryCtxRetain",
)
CARDS = (Card(), Card(name="A100", sms=108, compute=(8, 0)), Card(name="V100", sms=80, compute=(7, 0)))
parts = st.floats(0.01, 1.0).map(lambda part: Allowance(part=part))
steps = st.lists(
    st.tuples(st.sampled_from(["open", "resize", "close"]), st.integers(0, 7), parts), min_size=1, max_size=20
)
refusals = st.dictionaries(
    st.sampled_from(REFUSABLE), st.tuples(st.integers(1, 6), st.just(CUresult.CUDA_ERROR_OUT_OF_MEMORY))
)


def carry_out(backend, lanes, step):
    """Do a step on the lanes that there are; what is refused leaves them as they were."""
    what, which, share = step
    if what == "open":
        lanes.append(backend.lane(share))
    elif lanes and what == "resize":
        lanes[which % len(lanes)] = backend.resize(lanes[which % len(lanes)], share)
    elif lanes:
        backend.close(lanes[which % len(lanes)])
        del lanes[which % len(lanes)]


@settings(max_examples=200)
@given(st.sampled_from(CARDS), st.booleans(), steps, refusals)
def test_lanes_stay_disjoint_and_accounted_for(card, fine, steps, refused):
    cuda = FakeCuda(cards=(card,), refuses=refused)
    backend = GreenBackend(CudaDriver(cuda), fine=fine)
    lanes = []

    for step in steps:
        with contextlib.suppress(SpecError, GpuError):
            carry_out(backend, lanes, step)
        seen = [cuda.seen(lane.stream) for lane in lanes]
        assert sum(map(len, seen)) == len(frozenset().union(*seen))
        assert [len(sms) for sms in seen] == [lane.sms for lane in lanes]
        assert len(cuda.contexts) == len(cuda.streams) == len(lanes)
        assert cuda.calls.count("cuDevSmResourceSplitByCount") <= 1 + (
            "cuDevSmResourceSplitByCount" in refused
        )

    backend.stop()
    assert cuda.holds == 0
