import gc
import platform
import subprocess
import sys

import pytest

from regrain_watchdog.front.garbage import GARBAGE, collect_less


def test_what_the_start_made_is_looked_at_no_more() -> None:
    before = gc.get_threshold()
    try:
        collect_less()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] == GARBAGE
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


FAULTS = """
import resource
import sys

from regrain_watchdog.front.garbage import keep_freed

SIZE, ROUNDS, TOGETHER = 600_000, 50, 4
if sys.argv[1] == "kept":
    keep_freed()


def use():
    del [b"x" * SIZE for _ in range(TOGETHER)][:]


use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(ROUNDS):
    use()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults * resource.getpagesize() / (SIZE * ROUNDS * TOGETHER))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has its own ways")
def test_memory_of_large_bodies_is_used_again() -> None:
    def fresh(how: str) -> float:
        """The part of what is written that is had from the system anew."""
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert fresh("given back") > 0.2
    assert fresh("kept") < 0.01
