from regrain.wire.frames import Fault
from regrain_watchdog.front.outcomes import values_of


def test_a_fault_carries_no_values():
    assert values_of(Fault(500, "a", "")) == []
