"""Leases carried out on an emulated GPU: what loading takes, what a batch needs, what neighbours cost."""

import time
from dataclasses import dataclass, field

import pytest

from regrain.context import Context, entered
from regrain.wire.frames import Entitle
from regrain.wire.lease import Beside, Share
from regrain_runtime.emulated.hold import hold
from regrain_runtime.emulated.models import model_named
from regrain_runtime.gpu.carriers import Emulated

MIB = 1 << 20
SCENARIO = """
[emulated]
jitter = 0.0
interference = 0.5
context = "100Mi"

[emulated.stages.detect]
model = "alexnet"
weights = "50Mi"
activations = "10Mi"
load_time = "30ms"

[emulated.stages.read]
model = "alexnet"
pressure = 3.0
weights = "200Mi"
activations = "1Mi"
load_time = "1ms"
"""


@dataclass
class Lease:
    sms: int = 80
    seconds: float = 2.0
    beside: tuple[Beside, ...] = ()
    renewed: list[float] = field(default_factory=list)

    def renew(self, *, timeout: float) -> None:
        self.renewed.append(timeout)


def entitled(tmp_path, memory):
    return Entitle(
        path="/run/gpu0.sock",
        name="ocr/detect",
        backend="emulated",
        device=0,
        fraction=1.0,
        share=Share(memory=memory * MIB),
        card="v100",
        scenario=str(tmp_path / "scenario.toml"),
    )


@pytest.fixture
def emulated(tmp_path):
    (tmp_path / "scenario.toml").write_text(SCENARIO)

    def start(memory=1000, clock=time.monotonic, wait=hold):
        return Emulated(entitled(tmp_path, memory), clock, wait=wait)

    return start


def load(gpu, stage, memory=1000):
    with gpu.loading(stage, memory * MIB):
        pass


def held(gpu, stage, count, lease):
    """Return the seconds that a call holds its lease."""
    began = time.monotonic()
    with gpu.kernel(stage, count, lease):
        pass
    return time.monotonic() - began


def expected(gpu, stage, count):
    context = Context(call_id="call")
    with entered((context,)):
        return gpu.expected(stage, count, 1.0)


def test_a_load_takes_at_least_the_scenarios_time(emulated):
    gpu = emulated()
    began = time.monotonic()

    load(gpu, "detect")

    assert time.monotonic() - began >= 0.03


def test_a_call_is_expected_to_last_as_long_as_it_is_held_when_alone(emulated):
    gpu = emulated()
    load(gpu, "detect")

    seconds = expected(gpu, "detect", 8)

    assert seconds == pytest.approx(model_named("alexnet").time(8, 1.0))
    assert held(gpu, "detect", 8, Lease()) >= seconds


@pytest.mark.parametrize(
    ("beside", "slower"),
    [
        pytest.param((), 1.0, id="alone"),
        pytest.param((Beside("ocr/detect", 40),), 1 + 0.5 * 0.5, id="another replica"),
        pytest.param((Beside("ocr/crop+read", 20),), 1 + 0.5 * 3 * 0.25, id="a stage of more pressure"),
        pytest.param((Beside("ocr/detect+read", 20),), 1 + 0.5 * 3 * 0.25, id="the one of most pressure"),
        pytest.param((Beside("other/embed", 40), Beside("other/x", 20)), 1 + 0.5 * 0.75, id="another app"),
    ],
)
def test_neighbours_make_a_call_slower_by_what_they_hold_and_press(emulated, beside, slower):
    gpu = emulated()
    load(gpu, "detect")
    alone = model_named("alexnet").time(8, 0.25)
    truth = gpu._truth  # what a hold lasts is exact; what it takes on a busy machine is not

    assert truth.seconds("detect", 8, 0.25, others=truth.others(beside)) == pytest.approx(alone * slower)
    assert held(gpu, "detect", 8, Lease(20, beside=beside)) >= alone * slower


@pytest.mark.parametrize(
    ("computing", "holds"),
    [
        pytest.param(0.0, [0.4, 0.4, 0.2], id="none"),
        pytest.param(0.1, [0.3, 0.4, 0.2], id="some"),
        pytest.param(0.5, [0.0, 0.4, 0.1], id="more than a lease"),
        pytest.param(0.7, [0.3], id="so much that what is left is no more than a lease"),
        pytest.param(2.0, [0.0], id="more than the call"),
    ],
)
def test_what_a_call_computes_is_of_its_first_lease(emulated, computing, holds):
    held, now = [], [0.0]
    gpu = emulated(clock=lambda: now[0], wait=held.append)
    load(gpu, "detect")
    seconds = expected(gpu, "detect", 8)
    lease = Lease(seconds=0.4 * seconds)

    with gpu.kernel("detect", 8, lease):
        now[0] += computing * seconds

    assert held == pytest.approx([part * seconds for part in holds])
    assert len(lease.renewed) == len(holds) - 1


def test_weights_that_have_no_room_cannot_be_loaded_and_what_is_loaded_stays(emulated):
    gpu = emulated(memory=200)
    load(gpu, "detect", 200)

    with pytest.raises(MemoryError, match=r"v100: stage 'read' needs 350 MiB to be loaded, .* are 250 MiB"):
        load(gpu, "read", 50)

    assert held(gpu, "detect", 1, Lease()) > 0


def test_the_batch_that_exceeds_what_was_declared_is_out_of_memory_and_a_smaller_one_is_not(emulated):
    gpu = emulated(memory=190)
    load(gpu, "detect", 190)

    with pytest.raises(
        MemoryError,
        match=r"stage 'detect' needs 200 MiB to run on 5 at once, .* GPU\(memory=...\) are 190 MiB",
    ):
        held(gpu, "detect", 5, Lease())

    assert held(gpu, "detect", 4, Lease()) > 0


def test_another_share_is_other_memory(emulated, tmp_path):
    gpu = emulated(memory=190)
    load(gpu, "detect", 100)

    gpu.follow(entitled(tmp_path, 160))

    with pytest.raises(MemoryError, match="are 160 MiB"):
        held(gpu, "detect", 4, Lease())


def test_what_was_unloaded_needs_no_room(emulated):
    gpu = emulated(memory=301)
    load(gpu, "detect", 100)
    gpu.unloaded("detect")

    load(gpu, "read", 100)

    assert held(gpu, "read", 1, Lease()) > 0


def test_a_stage_that_could_not_be_built_takes_no_room(emulated):
    gpu = emulated(memory=310)
    with pytest.raises(OSError, match="no such file"), gpu.loading("detect", 100 * MIB):
        raise OSError("no such file")

    load(gpu, "read", 100)

    assert held(gpu, "read", 1, Lease()) > 0


def test_the_most_that_was_held_is_told_once_then_what_is_held_now(emulated):
    card = emulated()
    empty = card.most_held()
    with card.loading("read", 1000 * MIB):
        pass
    loaded = card.most_held()

    with entered([Context(call_id="a")]):
        card.expected("read", 4, 1.0)
        with card.kernel("read", 4, Lease()):
            pass

    assert (empty, loaded) == (100 * MIB, 300 * MIB)
    assert (card.most_held(), card.most_held()) == (304 * MIB, 300 * MIB)
