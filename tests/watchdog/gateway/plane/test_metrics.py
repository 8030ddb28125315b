"""What Prometheus reads: the gateway's own metrics, and those of every app under its name."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from regrain.wire.frames import Timing
from regrain.wire.lease import Status, Usage
from regrain_watchdog.front.adapting import tally
from regrain_watchdog.front.measure import Gauges, Measure
from regrain_watchdog.gateway.plane.counts import Counts
from regrain_watchdog.gateway.plane.inside import Inside
from regrain_watchdog.gateway.plane.metrics import MetricsPage
from regrain_watchdog.platforms.monitoring.dashboard import dashboard


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
    assert found[("http_requests_total", second[0], ("code", "499"), second[1], ("method", "POST"))] == 2


def test_there_is_each_series_of_the_dashboard() -> None:
    books = Status(
        epoch=1, sms=80, free_sms=80, memory=1, free_memory=1, members=(), usage=(Usage(name="f"),)
    )
    gauges = Gauges(queued={"count": 0}, replicas={("count", "ready"): 1}, gpus=[books])
    one = Measure(gauges=lambda: gauges)
    one.adapting = lambda: tally.Counts(predicted=0.9)
    one.arrived()
    one.finished(None, method="POST", status=200, seconds=0.1, now=1.0)
    one.dispatched("count", 1, 0.0)
    one.ran("count", 0.0, [Timing("count", 0.1, 1, 1)])
    one.died("count")
    one.poisoned("count")
    shown = [target["expr"] for panel in dashboard("a", 0.95)["panels"] for target in panel["targets"]]
    asked = {name for expression in shown for name in re.findall(r'(\w+)\{app="\$app"\}', expression)}

    found = read(MetricsPage(Counts(list), lambda: [(("openfaas-fn", "a"), one)]))

    assert asked
    assert asked <= {sample.name for sample in found if sample.labels.get("app") == "a"}


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
