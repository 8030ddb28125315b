import pytest

from regrain.plan import Fluid, GpuShare, Group, Plan
from regrain_watchdog.words import age, configured, cores, duration, share, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0.0, "0 s"),
        (0.00083, "830 us"),
        (0.0042, "4.2 ms"),
        (0.005, "5 ms"),
        (0.31, "310 ms"),
        (1.25, "1.25 s"),
        (12.0, "12 s"),
        (250.4, "250 s"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (180, "3 min"), (9000, "2 h"), (345600, "4 d"), (-1, "0 s")]
)
def test_an_age_is_rough(seconds, text):
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [(0, "0 B"), (512, "512 B"), (1 << 30, "1 GiB"), (3 << 19, "1.5 MiB"), (1 << 50, "1024 TiB")],
)
def test_a_size_is_binary(nbytes, text):
    assert size(nbytes) == text


def test_shares_and_cores_read_as_people_say_them():
    assert share(0.975) == "97.5 %"
    assert share(None) == "-"
    assert [cores(1), cores(0.5), cores(2)] == ["1 core", "0.5 cores", "2 cores"]


def test_a_plan_is_told_with_what_its_groups_are_given():
    share = GpuShare(fraction=0.5)
    plan = Plan(
        (
            Group(stages=("read",), replicas=2, max_size=8, gpu=share),
            Group(stages=("look", "say"), replicas=3, gpu=share, fluid=Fluid(share=1.5, lanes=())),
            Group(stages=("end",)),
        )
    )

    assert configured(plan) == "read (2 x 0.5 GPU, ≤ 8) | ~look+say (3 sharing 1.5 GPU) | end (1 x 1 core)"
