"""Who has weights of a device mapped, and when they go."""

import mmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.gpu.driver import CudaDriver, DriverError
from regrain_runtime.gpu.fake import Card, CUresult
from regrain_runtime.gpu.fake_memory import FakeMemory
from regrain_runtime.holder.shelf import Shelf

GRACE = 10.0
SIZE = 4096


def pages(size=SIZE):
    return mmap.mmap(-1, size)


@pytest.fixture
def cuda(tmp_path):
    return FakeMemory(folder=tmp_path, cards=(Card(memory=2 * SIZE),))


@pytest.fixture
def shelf(cuda):
    return Shelf(CudaDriver(cuda), 0, grace=GRACE)


def test_weights_are_copied_once_however_many_want_them(shelf, cuda):
    assert shelf.lend("a", SIZE, 1, None) is None

    handles = {shelf.lend("a", SIZE, reader, pages()) for reader in (1, 2, 3)}

    assert len(handles) == 1
    assert len(next(iter(handles))) == 64
    assert cuda.calls.count("cuMemAlloc") == cuda.calls.count("cuMemcpyHtoD") == 1
    assert shelf.nbytes == SIZE


def test_what_somebody_has_stays_and_what_nobody_has_goes_after_the_time_of_grace(shelf):
    for reader in (1, 2):
        shelf.lend("a", SIZE, reader, pages())
    shelf.give_back(1, now=5.0)
    assert shelf.due() is None

    shelf.give_back(2, now=6.0, key="a")

    assert shelf.due() == 16.0
    shelf.sweep(15.9)
    assert shelf.nbytes == SIZE
    shelf.sweep(16.0)
    assert shelf.nbytes == 0
    assert shelf.due() is None


def test_weights_that_are_wanted_again_in_time_are_kept(shelf):
    first = shelf.lend("a", SIZE, 1, pages())
    shelf.give_back(1, now=0.0)

    assert shelf.lend("a", SIZE, 2, None) == first
    shelf.sweep(1e6)

    assert shelf.nbytes == SIZE


def test_a_reader_that_gives_back_what_it_has_not_changes_nothing(shelf):
    shelf.lend("a", SIZE, 1, pages())

    shelf.give_back(2, now=0.0)
    shelf.give_back(1, now=0.0, key="b")

    assert shelf.due() is None


def test_what_nobody_has_makes_room_at_once_for_what_is_wanted(shelf, tmp_path):
    for reader, key in ((1, "a"), (2, "b")):
        shelf.lend(key, SIZE, reader, pages())
    shelf.give_back(1, now=0.0)

    shelf.lend("c", SIZE, 3, pages())

    assert shelf.lend("a", SIZE, 1, None) is None
    assert shelf.lend("b", SIZE, 1, None) is not None
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_in_use_is_not_freed_for_others(shelf):
    for reader, key in ((1, "a"), (2, "b")):
        shelf.lend(key, SIZE, reader, pages())

    with pytest.raises(DriverError, match="OUT_OF_MEMORY"):
        shelf.lend("c", SIZE, 3, pages())

    assert shelf.nbytes == 2 * SIZE


@pytest.mark.parametrize("call", ["cuMemcpyHtoD", "cuCtxSynchronize", "cuIpcGetMemHandle"])
def test_weights_that_could_not_be_put_there_leave_nothing_behind(tmp_path, call):
    cuda = FakeMemory(folder=tmp_path, refuses={call: (1, CUresult.CUDA_ERROR_INVALID_VALUE)})
    shelf = Shelf(CudaDriver(cuda), 0, grace=GRACE)

    with pytest.raises(DriverError, match=call):
        shelf.lend("a", SIZE, 1, pages())

    assert shelf.nbytes == 0
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_is_another_is_refused(shelf):
    with pytest.raises(SpecError, match="4097 bytes, its file has 4096"):
        shelf.lend("a", SIZE + 1, 1, pages())
    shelf.lend("a", SIZE, 1, pages())
    with pytest.raises(SpecError, match="a has 4096 bytes here, not 8192"):
        shelf.lend("a", 2 * SIZE, 2, None)


def test_at_the_end_all_is_given_back(shelf, cuda, tmp_path):
    shelf.lend("a", SIZE, 1, pages())

    shelf.close()

    assert list(tmp_path.iterdir()) == []
    assert cuda.holds == 0


ACTS = st.lists(
    st.tuples(
        st.sampled_from(("lend", "return", "leave", "wait")), st.integers(1, 3), st.sampled_from("abc")
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ACTS)
def test_whatever_happens_only_what_nobody_has_is_freed(tmp_path_factory, acts):
    folder = tmp_path_factory.mktemp("card")
    shelf = Shelf(CudaDriver(FakeMemory(folder=folder, cards=(Card(memory=2 * SIZE),))), 0, grace=GRACE)
    having, now = set(), 0.0
    for act, reader, key in acts:
        now += 1.0
        if act == "lend":
            try:
                shelf.lend(key, SIZE, reader, pages())
                having.add((reader, key))
            except DriverError:
                assert len({name for _, name in having}) == 2
        elif act == "wait":
            now += GRACE
            shelf.sweep(now)
            assert shelf.nbytes == SIZE * len({name for _, name in having})
        else:
            shelf.give_back(reader, now, key if act == "return" else None)
            having -= {one for one in having if one[0] == reader and (act == "leave" or one[1] == key)}
        assert shelf.nbytes >= SIZE * len({name for _, name in having})
        for one, name in having:
            assert shelf.lend(name, SIZE, one, None) is not None
    shelf.close()
    assert list(folder.iterdir()) == []
