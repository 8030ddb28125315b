"""A replica whose stages borrow weights of its GPU."""

import sys

import pytest

from regrain.weights.device import current_lender
from regrain.wire.frames import Entitle
from regrain.wire.lease import Share
from regrain_runtime.gpu.carriers import Real, carrier
from regrain_runtime.gpu.driver import BINDINGS, CudaDriver
from regrain_runtime.gpu.fake import FakeCuda, uuid_of
from regrain_runtime.gpu.lease import LeaseBackend
from regrain_runtime.holder.lender import HolderLostError


class Weights:
    """Lends nothing; its holder is there until `lost`."""

    lost = False
    closed = False

    def check(self):
        if self.lost:
            raise HolderLostError("its memory is gone")

    def close(self):
        self.closed = True


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.fixture
def weights():
    return Weights()


@pytest.fixture
def replica(cuda, weights):
    share = Share(memory=1 << 30)
    entitled = Entitle(
        path="/run/gpu0.sock", name="app/a", backend="lease", device=0, fraction=0.5, share=share
    )
    return Real(entitled, LeaseBackend(CudaDriver(cuda)), lambda: 0.0, weights=weights)


def test_stages_find_who_lends_while_they_are_built(replica, weights):
    with replica.loading("a", 0):
        assert current_lender() is weights
    assert current_lender() is None


def test_a_replica_whose_weights_are_gone_runs_nothing_more_and_ends(replica, weights, caplog):
    with replica.kernel("a", 1, None):
        pass
    weights.lost = True

    with pytest.raises(SystemExit), replica.kernel("a", 1, None):
        pytest.fail("it ran on memory that is gone")

    assert "this replica ends: its memory is gone" in caplog.text


def test_the_device_is_given_back_at_the_end(replica, weights, cuda):
    replica.stop()

    assert weights.closed
    assert cuda.holds == 0


@pytest.mark.parametrize(("backend", "lends"), [("lease", True), ("green", True), ("mig", False)])
def test_replicas_on_one_device_share_weights_and_one_that_has_an_instance_to_itself_its_own(
    cuda, monkeypatch, backend, lends
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, BINDINGS, cuda)
    entitled = Entitle(
        path="/run/gpu0.sock",
        name="app/a",
        backend=backend,
        device=0,
        fraction=1.0,
        share=Share(),
        uuid="MIG-1" if backend == "mig" else uuid_of(0),
    )

    with carrier(entitled, lambda: 0.0).loading("a", 0):
        assert (current_lender() is not None) == lends
