"""What Prometheus reads: the gateway's own metrics, and those of every app under its name."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from regrain_watchdog.front.measure import Gauges, Measure
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.inside import Inside
from regrain_watchdog.gateway.plane.metrics import MetricsPage


def measure(queued: int, cancelled: int) -> Measure:
    """Return what an app has counted by now."""
    one = Measure(gauges=lambda: Gauges(queued={"count": queued}))
    for _ in range(cancelled):
        one.arrived()
        one.finished(None, method="POST", status=499, seconds=0.1, now=1.0)
    return one


def read(page: MetricsPage) -> list[Sample]:
    families = list(text_string_to_metric_families(asyncio.run(page.page()).decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    return [sample for family in families for sample in family.samples]


def test_apps_are_told_apart_by_their_names() -> None:
    counts = Counts(list)
    counts.began(("dev", "a"))
    apps = [(("dev", "a"), measure(3, 0)), (("openfaas-fn", "a"), measure(5, 2))]

    found = {
        (one.name, *sorted(one.labels.items())): one.value for one in read(MetricsPage(counts, lambda: apps))
    }

    first = (("app", "a"), ("function_name", "a.dev"))
    second = (("app", "a"), ("function_name", "a.openfaas-fn"))
    assert found[("regrain_queue_units", *first, ("group", "count"))] == 3
    assert found[("regrain_queue_units", *second, ("group", "count"))] == 5
    assert found[("regrain_hits_total", *first)] == 0
    assert found[("regrain_cancelled_total", *first)] == 0
    assert found[("regrain_cancelled_total", *second)] == 2
    assert found[("gateway_function_invocation_started_total", ("function_name", "a.dev"))] == 1
    assert found[("process_resident_memory_bytes",)] > 0
    assert not [name for name, *_ in found if name.startswith("http_")]


def test_it_is_there_without_an_app() -> None:
    assert not [one for one in read(MetricsPage(Counts(list), list)) if one.name.startswith("regrain_")]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/metrics", 200), ("HEAD", "/metrics", 200), ("GET", "/", 404), ("POST", "/metrics", 404)],
)
def test_there_is_one_page(method: str, path: str, status: int) -> None:
    inside = Inside(b"", 1 << 20)
    scope = SimpleNamespace(method=method, path=path)

    asyncio.run(MetricsPage(Counts(list), list).__rsgi__(scope, inside))

    assert inside.status == status
