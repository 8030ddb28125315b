import contextlib

import pytest

from regrain_runtime.gpu.backend import Lane
from regrain_runtime.gpu.libraries import in_lane, limit_memory, onnx_options

GIB = 1 << 30
GREEN = Lane(device=1, stream=0x70, sms=64, short=2, memory=8 * GIB, device_memory=16 * GIB)
WHOLE = Lane(device=0, stream=0, sms=132, short=0, memory=0, device_memory=16 * GIB)


class Cuda:
    """What torch.cuda is asked for, noted."""

    def __init__(self):
        self.noted = []

    def ExternalStream(self, stream_ptr, device):  # noqa: N802
        return ("external", stream_ptr, device)

    @contextlib.contextmanager
    def stream(self, stream):
        self.noted.append(("enter", stream))
        yield
        self.noted.append(("leave", stream))

    def set_per_process_memory_fraction(self, fraction, device):
        self.noted.append((fraction, device))


def test_torch_works_in_the_lanes_stream_and_leaves_it():
    cuda = Cuda()

    with in_lane(GREEN, cuda):
        cuda.noted.append("work")

    stream = ("external", 0x70, 1)
    assert cuda.noted == [("enter", stream), "work", ("leave", stream)]


def test_a_lane_of_any_stream_changes_none():
    cuda = Cuda()

    with in_lane(WHOLE, cuda):
        pass

    assert cuda.noted == []


@pytest.mark.parametrize(("lane", "said"), [(GREEN, [(0.5, 1)]), (WHOLE, [(1.0, 0)])])
def test_torchs_allocator_is_held_to_the_share(lane, said):
    cuda = Cuda()

    limit_memory(lane, cuda)

    assert cuda.noted == said


def test_onnxruntime_is_given_stream_and_arena():
    assert onnx_options(GREEN) == {
        "device_id": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "user_compute_stream": "112",
        "gpu_mem_limit": str(8 * GIB),
    }


def test_onnxruntime_is_given_no_stream_0_which_would_count_as_none():
    assert onnx_options(WHOLE) == {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}


def test_torch_has_what_is_asked_of_it():
    torch = pytest.importorskip("torch")

    assert all(
        callable(getattr(torch.cuda, name))
        for name in ("ExternalStream", "stream", "set_per_process_memory_fraction")
    )
