import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.platforms.gpu import Annotations, Hami, Mig, Need, Profile, Replicas

GIB = 1 << 30
QUARTER = Need(share=0.25, memory=4 * GIB)
TOLD = {"regrain.dev/gpu-share": "0.25", "regrain.dev/gpu-memory": str(4 * GIB)}
CUT = Mig(
    profiles=(
        Profile(name="4g.71gb", share=4 / 7, memory=71 * GIB),
        Profile(name="2g.35gb", share=2 / 7, memory=35 * GIB),
        Profile(name="1g.35gb", share=1 / 7, memory=35 * GIB),
        Profile(name="1g.18gb", share=1 / 7, memory=18 * GIB),
    )
)
WAYS = (Annotations(), Hami(), Replicas(replicas=2, memory=140 * GIB), CUT)
needs = st.builds(
    Need, share=st.floats(0.01, 0.5), memory=st.integers(1, 64 * GIB), priority=st.integers(-1, 2)
)


def test_annotations_tell_the_nodes_arbiter_and_nobody_else():
    declared = Annotations().declare(QUARTER)

    assert (declared.limits, declared.environment, declared.annotations) == ({}, {}, TOLD)
    assert declared.share == 0.0


def test_hami_is_told_per_cent_and_mib():
    declared = Hami().declare(QUARTER)

    assert declared.limits == {
        "nvidia.com/gpu": "1",
        "nvidia.com/gpucores": "25",
        "nvidia.com/gpumem": "4096",
        "nvidia.com/priority": "0",
    }
    assert (declared.environment, declared.annotations, declared.share) == ({}, TOLD, 0.25)


def test_hami_under_another_prefix():
    assert "example.com/gpucores" in Hami(prefix="example.com").declare(QUARTER).limits


def test_hami_without_memory_would_give_all_of_it():
    with pytest.raises(SpecError, match=r"all of the GPU's: say GPU\(memory="):
        Hami().declare(Need(share=0.25, memory=0))


def test_a_replica_of_the_device_plugin_is_tightened_by_variables():
    declared = Replicas(replicas=3, memory=141 * GIB).declare(QUARTER)

    assert declared.limits == {"nvidia.com/gpu.shared": "1"}
    assert declared.environment == {
        "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "25",
        "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": "0=4096M",
    }
    assert (declared.annotations, declared.share) == (TOLD, 1 / 3)


def test_a_replica_without_memory_has_the_plugins_limit():
    declared = Replicas(replicas=3, memory=141 * GIB).declare(Need(share=1 / 3, memory=0))

    assert declared.environment == {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "34"}


@pytest.mark.parametrize(
    "need",
    [
        pytest.param(Need(share=0.3, memory=GIB), id="more SMs"),
        pytest.param(Need(share=0.1, memory=36 * GIB), id="more memory"),
    ],
)
def test_a_need_of_more_than_a_replica_is_refused_naming_both(need):
    with pytest.raises(
        SpecError, match=r"one of 4 replicas of a GPU is a share of 0\.25 with \d+ bytes, asked for"
    ):
        Replicas(replicas=4, memory=140 * GIB).declare(need)


@pytest.mark.parametrize(
    ("need", "resource"),
    [
        pytest.param(Need(share=1 / 7, memory=GIB), "nvidia.com/mig-1g.18gb", id="the smallest"),
        pytest.param(Need(share=0.1, memory=20 * GIB), "nvidia.com/mig-1g.35gb", id="for its memory"),
        pytest.param(Need(share=0.2, memory=20 * GIB), "nvidia.com/mig-2g.35gb", id="for its SMs"),
        pytest.param(Need(share=0.5, memory=20 * GIB), "nvidia.com/mig-4g.71gb", id="the largest"),
    ],
)
def test_the_smallest_mig_profile_that_covers_is_asked_for(need, resource):
    assert CUT.declare(need).limits == {resource: "1"}


def test_what_no_mig_profile_covers_is_refused_naming_those_there_are():
    with pytest.raises(
        SpecError, match=r"share of 0\.9 .* there are 4g\.71gb \(0\.5714 with \d+ bytes\), 2g"
    ):
        CUT.declare(Need(share=0.9, memory=GIB))


@given(needs)
def test_what_a_cluster_accounts_covers_what_is_needed_and_the_arbiter_is_always_told(need):
    for way in WAYS:
        declared = way.declare(need)

        assert declared.share == 0 or declared.share >= need.share - 1e-9
        assert float(declared.annotations["regrain.dev/gpu-share"]) == pytest.approx(need.share, rel=1e-5)
        assert int(declared.annotations["regrain.dev/gpu-memory"]) == need.memory


@given(needs)
def test_resources_are_whole_numbers_under_names_that_kubernetes_takes(need):
    for way in WAYS:
        declared = way.declare(need)

        assert all(value.isdigit() for value in declared.limits.values())
        assert all(
            re.fullmatch(r"[a-z.]+/[a-z0-9.-]+", name) for name in (*declared.limits, *declared.annotations)
        )
        assert all(
            isinstance(value, str)
            for value in (*declared.environment.values(), *declared.annotations.values())
        )


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        pytest.param(lambda: Need(share=0.0, memory=1), r"in \(0, 1\], was 0", id="no share"),
        pytest.param(lambda: Need(share=1.5, memory=1), r"in \(0, 1\], was 1\.5", id="more than a GPU"),
        pytest.param(lambda: Need(share=0.5, memory=-1), "0 bytes or more, was -1", id="less than no memory"),
        pytest.param(lambda: Replicas(replicas=0, memory=1), "were 0 and 1", id="no replicas"),
        pytest.param(lambda: Mig(profiles=()), "was given none", id="no profiles"),
    ],
)
def test_nonsense_is_refused(attempt, said):
    with pytest.raises(SpecError, match=said):
        attempt()
