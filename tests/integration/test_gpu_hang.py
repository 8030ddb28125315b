"""A call that goes on on a GPU after its lease has ended, while others wait for it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

APP = """
import os
import time
from pathlib import Path

from regrain import GPU, App

app = App("long", sample={"seconds": 0.0})


@app.stage(gpu=GPU(memory="1Gi", share=1.0))
def work(seconds: float, begun: str = "") -> int:
    if begun:
        Path(begun).touch()
    time.sleep(seconds)
    return os.getpid()


@app.flow
def flow(seconds: float, begun: str = "") -> int:
    return work(seconds, begun)
"""
LEASE = 2.0


@pytest.fixture
def beside(fake_cuda, serve, tmp_path, until):
    """Serve two replicas that share a GPU, and ask for a long call and for a short one beside it: both answers."""
    (tmp_path / "app.py").write_text(APP)

    def ask(seconds, *flags):
        served = serve(tmp_path / "app.py", "--gpus", "lease", "--replicas", "2", *flags)
        begun = tmp_path / "begun"
        with ThreadPoolExecutor(2) as pool:
            long = pool.submit(served.call, seconds=seconds, begun=str(begun))
            until(Path(begun).exists, "the long one has begun")
            short = pool.submit(served.call, seconds=0.0)
            return long.result(), short.result()

    return ask


def test_a_long_call_is_waited_for(beside):
    long, short = beside(2 * LEASE + 0.5)

    assert (long.status_code, short.status_code) == (200, 200)
    assert long.json() != short.json()


def test_one_that_goes_on_for_longer_than_it_may_is_ended(beside):
    long, short = beside(60.0, "--gpu-hang-timeout", "100ms")

    assert long.status_code == 502
    assert short.status_code == 200
