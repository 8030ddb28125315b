import gc

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
