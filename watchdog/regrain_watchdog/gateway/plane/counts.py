"""What all functions have done, as Prometheus reads it: by OpenFaaS' names, which its autoscaler knows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from regrain_watchdog.front.named import SECONDS
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.spec import Standing


class Counts(Collector):
    """Counts invocations.

    Args:
        standings: how functions do at the moment of a scrape.
    """

    def __init__(self, standings: Callable[[], list[Standing]]) -> None:
        self._standings = standings
        self._codes: dict[tuple[Key, int], list[float]] = {}
        self._started: dict[Key, int] = {}

    def began(self, key: Key) -> None:
        """Count an invocation that begins."""
        self._started[key] = self._started.get(key, 0) + 1

    def ended(self, key: Key, status: int, seconds: float) -> None:
        """Count one that has ended, unless its function is no more."""
        if key not in self._started:
            return
        found = self._codes.get((key, status))
        if found is None:
            found = self._codes[key, status] = [0.0] * (len(SECONDS) + 2)  # one over all bounds, and the sum
        found[bisect_left(SECONDS, seconds)] += 1
        found[-1] += seconds

    def forget(self, key: Key) -> None:
        """A function is no more."""
        self._started.pop(key, None)
        for one in [one for one in self._codes if one[0] == key]:
            del self._codes[one]

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        started = CounterMetricFamily(
            "gateway_function_invocation_started", "Invocations that began.", labels=("function_name",)
        )
        for key, number in self._started.items():
            started.add_metric((full_name(key),), number)
        total = CounterMetricFamily(
            "gateway_function_invocation",
            "Invocations by status; 499: the caller left.",
            labels=("function_name", "code"),
        )
        seconds = HistogramMetricFamily(
            "gateway_functions_seconds",
            "Time from an invocation's head to its answer.",
            labels=("function_name", "code"),
        )
        for (key, status), found in self._codes.items():
            labels = (full_name(key), str(status))
            total.add_metric(labels, sum(found[:-1]))
            seconds.add_metric(labels, _buckets(found[:-1]), found[-1])
        replicas = GaugeMetricFamily(
            "gateway_service_count", "Replicas of a function.", labels=("function_name",)
        )
        for standing in self._standings():
            replicas.add_metric((f"{standing.name}.{standing.namespace}",), standing.replicas)
        yield from (started, total, seconds, replicas)


def _buckets(found: list[float]) -> list[tuple[str, float]]:
    """Return cumulative counts, as Prometheus wants them."""
    reached = 0.0
    buckets = []
    for bound, count in zip((*map(str, SECONDS), "+Inf"), found, strict=True):
        reached += count
        buckets.append((bound, reached))
    return buckets


def full_name(key: Key) -> str:
    """Return NAME.NAMESPACE."""
    namespace, name = key
    return f"{name}.{namespace}"
