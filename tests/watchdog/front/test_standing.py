"""What the status tells of an app and its groups."""

import pytest

from regrain_watchdog.front.standing import objective


@pytest.mark.parametrize(
    ("declared", "latency", "told"),
    [
        pytest.param(None, None, None, id="none"),
        pytest.param(0.3, 0.3, {"latency": 0.3, "attainment": 0.95}, id="the app's own"),
        pytest.param(None, 0.2, {"latency": 0.2, "attainment": 0.95}, id="that of the settings alone"),
    ],
)
def test_the_objective_in_force_is_told_with_the_usual_attainment(app_of, declared, latency, told):
    assert objective(app_of(slo=declared), latency) == told
