import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_runtime.gpu.tpc import HIGH, LOW, Masks, disabling_all_but, green_atoms, sms, widened

H200 = 66
narrow = st.integers(0, LOW)
wide = st.integers(0, HIGH | LOW)
some = st.sets(st.integers(0, H200 - 1), min_size=1)


@given(some)
def test_a_set_bit_disables(tpcs):
    assert Masks(stream=disabling_all_but(tpcs)).enabled(H200) == tpcs


def test_no_mask_enables_all():
    assert Masks().enabled(H200) == frozenset(range(H200))


@given(narrow, wide, narrow)
def test_the_next_launch_goes_before_the_stream_and_the_stream_before_everything(
    upcoming, stream, everything
):
    lower = Masks(upcoming=upcoming, stream=stream, everything=everything).in_force() & LOW

    given_ones = [mask & LOW for mask in (upcoming, stream, everything) if mask & LOW]
    assert lower == (given_ones[0] if given_ones else 0)


@given(st.integers(1, LOW), wide, narrow)
def test_a_mask_for_the_next_launch_is_all_that_counts_for_it(upcoming, stream, everything):
    among_others = Masks(upcoming=upcoming, stream=stream, everything=everything)

    assert among_others.in_force() == Masks(upcoming=upcoming).in_force()


@given(narrow, wide, narrow)
def test_masks_of_64_bits_leave_no_tpc_beyond_64(upcoming, stream, everything):
    masks = Masks(upcoming=upcoming, stream=stream, everything=everything, hooked=True)

    assert not masks.enabled(H200) & {64, 65}
    assert masks.enabled(H200) == masks.enabled(64)


@given(st.sets(st.integers(0, 63), min_size=1))
def test_a_stream_mask_of_64_bits_disables_the_two_tpcs_of_66_that_it_has_no_bits_for(tpcs):
    mask = widened(disabling_all_but(tpcs, bits=64))

    assert Masks(stream=mask).enabled(H200) == tpcs


@given(st.sets(st.sampled_from([64, 65]), min_size=1))
def test_only_a_stream_mask_of_128_bits_reaches_the_last_two_of_66(tpcs):
    stream = disabling_all_but(tpcs)

    assert Masks(stream=stream).enabled(H200) == tpcs
    assert Masks(stream=stream, hooked=True).enabled(H200) == frozenset()


def test_a_stream_mask_that_disables_nothing_below_64_gives_way_once_another_is_set():
    high_only = HIGH

    assert Masks(stream=high_only, everything=0b1).enabled(H200) == set(range(1, 64))
    assert Masks(stream=high_only).enabled(H200) == set(range(64))


def test_a_tpc_is_two_sms():
    assert sms({0, 65}) == {0, 1, 130, 131}


@given(some, st.sampled_from([2, 4, 8]))
def test_atoms_lie_within_what_a_mask_enables(tpcs, size):
    atoms = green_atoms(tpcs, size)

    covered = {sm for atom in atoms for sm in range(atom * size, (atom + 1) * size)}
    assert covered <= sms(tpcs)
    assert len(sms(tpcs) - covered) < size * (len(tpcs) + 1)
    if size == 2:
        assert covered == sms(tpcs)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        pytest.param(lambda: disabling_all_but([]), "leave a TPC enabled", id="none left"),
        pytest.param(lambda: disabling_all_but([64], bits=64), "TPCs 0 to 63", id="beyond a narrow mask"),
        pytest.param(lambda: disabling_all_but([-1]), "TPCs 0 to 127", id="below zero"),
        pytest.param(lambda: widened(1 << 64), "64 bits", id="too wide to widen"),
        pytest.param(lambda: Masks(upcoming=1 << 64), "'upcoming' has 64 bits", id="upcoming"),
        pytest.param(lambda: Masks(everything=-1), "'everything' has 64 bits", id="everything"),
        pytest.param(lambda: Masks(stream=1 << 128), "'stream' has 128 bits", id="stream"),
        pytest.param(lambda: green_atoms([0], 0), "1 SM or more", id="atoms of nothing"),
    ],
)
def test_what_no_mask_can_say_is_refused(attempt, said):
    with pytest.raises(SpecError, match=said):
        attempt()
