import os
import time

from regrain_watchdog.gateway.plane.usage import Use, read


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
