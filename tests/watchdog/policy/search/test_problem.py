"""What may be asked, and what is refused."""

import pytest

from regrain.errors import SpecError
from regrain_watchdog.policy.profile import ProfileError
from regrain_watchdog.policy.search.problem import Limits, Problem


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"shares": ()}, "shares must ascend"),
        ({"shares": (0.5, 0.2)}, "shares must ascend"),
        ({"shares": (0.5, 1.2)}, "at most 1"),
        ({"shares": (0.0, 1.0)}, "more than 0"),
        ({"sizes": (2, 4)}, "sizes must begin with 1"),
        ({"waits": (0.01,)}, "waits with 0"),
        ({"replicas": 0}, "replicas must be at least 1, was 0"),
        ({"nodes": 0}, "nodes must be at least 1, was 0"),
        ({"verified": 0}, "verified must be at least 1, was 0"),
    ],
)
def test_limits_that_allow_nothing_are_refused(wrong, said):
    with pytest.raises(SpecError, match=said):
        Limits(**wrong)


def test_a_profile_that_lacks_stages_is_refused(make, machine):
    app = make([[], [0]], [0.01] * 2, [0.2] * 2, slo=1.0)
    del app.profile.stages["s1"]

    with pytest.raises(ProfileError, match="lacks s1"):
        Problem.of(app, machine())
