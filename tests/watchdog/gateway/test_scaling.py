"""Labels say how many replicas a function may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrain.errors import SpecError
from regrain_watchdog.gateway.scaling import MOST, Bounds

bounds = st.builds(
    lambda least, more, factor: Bounds(least=least, most=max(1, least + more), factor=factor),
    st.integers(0, 30),
    st.integers(0, 30),
    st.integers(0, 100),
)


def labels(**values: str) -> dict[str, str]:
    return {f"com.openfaas.scale.{name}": text for name, text in values.items()}


def test_labels_are_read() -> None:
    assert Bounds.of({}) == Bounds(least=1, most=20, factor=20)
    assert Bounds.of(labels(min="2", max=" 5 ", factor="50")) == Bounds(least=2, most=5, factor=50)
    assert Bounds.of(labels(min="40")) == Bounds(least=40, most=40)


@pytest.mark.parametrize(
    "values",
    [
        {"min": "-1"},
        {"min": "one"},
        {"min": "²"},
        {"min": str(MOST + 1)},
        {"max": "0"},
        {"min": "3", "max": "2"},
        {"factor": "101"},
        {"max": "9" * 5000},
    ],
)
def test_a_label_that_is_no_such_number_is_named(values: dict[str, str]) -> None:
    with pytest.raises(SpecError, match=rf"labels\.com\.openfaas\.scale\.{list(values)[-1]}: a whole number"):
        Bounds.of(labels(**values))


@given(bounds, st.integers(0, MOST))
def test_what_is_deployed_serves_and_keeps_its_replicas_within_bounds(limits: Bounds, before: int) -> None:
    replicas = limits.deployed(before)

    assert max(1, limits.least) <= replicas <= limits.most
    assert replicas == before or not max(1, limits.least) <= before <= limits.most


@given(bounds, st.integers(0, MOST))
def test_an_alert_adds_a_step_and_its_end_takes_all_back(limits: Bounds, replicas: int) -> None:
    more = limits.alerted(replicas, firing=True)

    assert more >= replicas
    assert more <= max(replicas, limits.most)
    assert more > replicas or limits.factor == 0 or replicas >= limits.most
    assert limits.alerted(more, firing=False) == limits.least
