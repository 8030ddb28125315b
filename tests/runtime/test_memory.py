import mmap

from regrain_runtime.memory import unique_set_size


def test_pages_that_nobody_shares_are_counted_whether_written_or_not(tmp_path):
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text(
        "00400000-7fff ---p 00000000 00:00 0 [rollup]\n"
        "Rss:  900 kB\nPss:  500 kB\nShared_Clean:  300 kB\nPrivate_Clean:  40 kB\nPrivate_Dirty:  60 kB\n"
    )

    assert unique_set_size(rollup) == 100 << 10


def test_a_process_sees_what_it_takes_itself():
    """Mapped and not allocated, which may give pages that were freed before and are its own still."""
    before = unique_set_size()
    with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE) as ballast:
        ballast.write(b"x" * len(ballast))

        assert unique_set_size() - before > 30 << 20
