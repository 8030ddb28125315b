"""What all functions have done."""

from __future__ import annotations

from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.spec import Standing


def samples(counts: Counts) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in counts.collect()
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def test_invocations_and_replicas_have_the_names_that_openfaas_knows() -> None:
    counts = Counts(lambda: [Standing(name="a", namespace="dev", state="ready", replicas=2)])
    for seconds, status in ((0.2, 200), (0.3, 200), (0.1, 503)):
        counts.began(("dev", "a"))
        counts.ended(("dev", "a"), status, seconds)

    found = samples(counts)

    assert found[("gateway_function_invocation_total", "200", "a.dev")] == 2
    assert found[("gateway_function_invocation_total", "503", "a.dev")] == 1
    assert found[("gateway_function_invocation_started_total", "a.dev")] == 3
    assert found[("gateway_functions_seconds_count", "200", "a.dev")] == 2
    assert found[("gateway_functions_seconds_sum", "200", "a.dev")] == 0.5
    assert found[("gateway_service_count", "a.dev")] == 2


def test_a_function_that_is_removed_is_told_no_more() -> None:
    counts = Counts(list)
    counts.began(("dev", "a"))
    counts.ended(("dev", "a"), 200, 0.1)
    counts.forget(("dev", "a"))

    assert samples(counts) == {}


def test_an_invocation_that_outlasts_its_function_is_told_no_more() -> None:
    counts = Counts(list)
    counts.began(("dev", "a"))
    counts.forget(("dev", "a"))
    counts.ended(("dev", "a"), 200, 0.1)

    assert samples(counts) == {}
