"""An arbiter knows who holds its device's weights, without being in the way of that one's end."""

import pytest

from regrain_watchdog.gpu.holder import holder

HOLDER = """
import fcntl, os, sys

lock = os.open(sys.argv[1].replace(".sock", ".weights.lock"), os.O_CREAT | os.O_RDWR, 0o600)
fcntl.lockf(lock, fcntl.LOCK_EX)
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def weights(node):
    process = node.start(HOLDER)
    assert process.hear() == "holding"
    return process


@pytest.mark.process
def test_it_is_known_for_as_long_as_it_lives(node, weights):
    assert holder(node.path) == weights.pid

    weights.end()

    assert node.path.with_suffix(".weights.lock").exists()
    assert holder(node.path) == 0


def test_where_nobody_ever_held_weights_there_is_none(tmp_path):
    assert holder(tmp_path / "gpu0.sock") == 0


@pytest.mark.process
def test_replicas_that_share_weights_fit_as_if_each_had_its_own(node, weights):
    node.shows(f'{{"{weights.pid}": 500}}')
    node.arbiter(observed=True)

    first = node.worker("a", memory=600)

    assert first.do("lease", 1.0, 0.5, 60).startswith("granted")
    assert node.status().free_memory == 400
