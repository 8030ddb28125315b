"""The page that Prometheus reads: what all functions have done, and what each app tells of itself, under its name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from regrain_watchdog.front.handler import Exchange, Scope
from regrain_watchdog.gateway.plane.counts import Counts, full_name
from regrain_watchdog.gateway.plane.route import Key

Measures = Callable[[], Iterable[tuple[Key, Collector]]]


class Metrics(Collector):
    """What there is at one moment, for prometheus_client to write down."""

    def __init__(self) -> None:
        self._found: dict[str, Metric] = {}

    def add(self, families: Iterable[Metric], **labels: str) -> None:
        """Take families, those of one name together, and say more of each sample."""
        for family in families:
            found = self._found.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            found.samples += [one._replace(labels={**one.labels, **labels}) for one in family.samples]

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._found.values()


class MetricsPage:
    """GET /metrics.

    Args:
        counts: of invocations.
        measures: what the apps that serve now tell.
    """

    def __init__(self, counts: Counts, measures: Measures) -> None:
        self._counts = counts
        self._measures = measures
        self._process = ProcessCollector(registry=None)

    async def __rsgi__(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request."""
        if scope.path != "/metrics" or scope.method not in ("GET", "HEAD"):
            proto.response_str(404, [("content-type", "text/plain")], "there is GET /metrics")
            return
        proto.response_bytes(200, [("content-type", CONTENT_TYPE_LATEST)], await self.page())

    async def page(self) -> bytes:
        """Return the metrics in Prometheus' text format; requests are served meanwhile, however many apps there are."""
        metrics = Metrics()
        metrics.add(self._counts.collect())
        metrics.add(self._process.collect())
        for key, measure in self._measures():
            metrics.add(measure.collect(), app=key[1], function_name=full_name(key))
            await asyncio.sleep(0)
        return await asyncio.to_thread(generate_latest, metrics)
