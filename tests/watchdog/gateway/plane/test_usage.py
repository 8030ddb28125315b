import os
import subprocess
import sys
import time

from regrain_watchdog.gateway.plane.usage import Use, read

RENAMED = r"""
with open("/proc/self/comm", "wb") as name:
    name.write(b"\xff) \xfe")
print("renamed", flush=True)
input()
"""


def test_a_process_uses_memory_and_time_and_one_that_has_gone_nothing() -> None:
    began = time.process_time()
    while time.process_time() < began + 0.05:
        pass
    found = read({("dev", "a"): [os.getpid()], ("dev", "b"): [2**22 + 1]})

    assert found["dev", "a"].memory > 1 << 20
    assert found["dev", "a"].seconds[os.getpid()] > 0
    assert found["dev", "b"] == Use(seconds={}, memory=0)


def test_cores_are_what_was_used_between_two_looks_by_those_in_both() -> None:
    before = Use(seconds={1: 1.0, 2: 5.0}, memory=0)
    after = Use(seconds={1: 2.0, 3: 9.0}, memory=0)

    assert after.cores(before, 2.0) == 500.0


def test_a_process_may_have_a_name_that_is_no_text() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RENAMED], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = read({("dev", "a"): [process.pid]})
        process.communicate(b"\n")

    assert found["dev", "a"].memory > 1 << 20
