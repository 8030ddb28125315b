"""Every metric of the front, and the last requests that missed.

The hot path adds to plain numbers and Prometheus reads them when it scrapes: a request costs about a
microsecond here, where prometheus_client's own objects would cost six. Everything runs on the event loop, so
there are no locks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from regrain.wire.frames import Timing
from regrain.wire.lease import Status
from regrain_watchdog.front.adapting.tally import Counts, Tally
from regrain_watchdog.front.call import Call, Span
from regrain_watchdog.front.named import (
    ADAPTING,
    ADOPTED,
    BATCHES,
    CANCELS,
    CONTROLLER_ENDS,
    CRASH_LOOP,
    DEATHS,
    DROPPED,
    DURATION,
    GPU_MEMORY,
    GRANTS,
    HITS,
    HOPS,
    IN_FLIGHT,
    ITEMS,
    LEASE_WAITS,
    LEASED,
    MEMORY,
    MISSES,
    OVERUSE,
    POISON,
    PREDICTED,
    QUEUED,
    REPLICAS,
    REQUESTS,
    RESERVED,
    RETRIES,
    SECONDS,
    SIZES,
    STAGES,
    WAITS,
    Named,
)
from regrain_watchdog.front.window import Second, Summary, Window

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.traces import Traces

CANCELLED = 499
"""The status under which a request is counted whose caller went away; nobody receives it."""
MISSES_KEPT = 256
SHED = frozenset({429, 503})
LATE = 504
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Methods with a label of their own; callers make up others, and each would be a time series."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """A request that missed: why ("late", "shed" or "failed"), when (CLOCK_MONOTONIC), and its spans."""

    call: str
    reason: str
    status: int
    seconds: float
    ended: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """What the dispatcher holds at the moment of a scrape.

    queued: units waiting by group. looping: 1 by group that is in a crash loop, else 0. replicas: processes by
    (group, state). Memory is shared memory in bytes: in use by values, held by segments, and the limit.
    gpus: the books of each GPU's arbiter, by its number.
    """

    queued: dict[str, int] = field(default_factory=dict)
    looping: dict[str, int] = field(default_factory=dict)
    replicas: dict[tuple[str, str], int] = field(default_factory=dict)
    memory_in_use: int = 0
    memory_held: int = 0
    memory_limit: int = 0
    gpus: Sequence[Status] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTotal:
    """What a group has done since the start: dispatches, their units, and seconds that first units waited."""

    batches: int
    units: float
    waited: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTotal:
    """What a stage has done since the start: runs, the inputs that it was called with, and seconds."""

    runs: int
    items: int
    seconds: float


def outcome(status: int, seconds: float, latency: float | None) -> str:
    """Return "hit", or why a request missed ("late", "shed", "failed"), or "" for one that is left out.

    Left out are malformed requests (4xx but 429) and those that the caller cancelled. `latency` is the
    objective in seconds, None without one.
    """
    if status in SHED:
        return "shed"
    if status >= 500:
        return "late" if status == LATE else "failed"
    if status >= 400:
        return ""
    return "late" if latency is not None and seconds > latency else "hit"


class _Histogram:
    """Counts of values by upper bound; the last count is of those over every bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts, as Prometheus wants them."""
        reached = 0
        found: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.counts, strict=True):
            reached += count
            found.append((bound, float(reached)))
        return found


class Measure(Collector):
    """Counts what the front does.

    Args:
        latency: the latency objective in seconds; None where the app has none.
        gauges: called on a scrape.
        traces: what records requests; None where nobody asks for that.

    Attributes:
        tally: what the controller is told of; None where nobody adapts the plan. adapting: gives what became of that.
    """

    def __init__(
        self,
        *,
        latency: float | None = None,
        gauges: Callable[[], Gauges] = Gauges,
        traces: Traces | None = None,
    ) -> None:
        self.latency = latency
        self.traces = traces
        self.gauges = gauges
        self.in_flight = 0
        self.tally: Tally | None = None
        self.adapting: Callable[[], Counts] | None = None
        self.misses: deque[Miss] = deque(maxlen=MISSES_KEPT)
        self._window = Window()
        self._requests: dict[tuple[int, str], _Histogram] = {}
        self._outcomes: dict[str, int] = dict.fromkeys(("hit", "late", "shed", "failed", "cancelled"), 0)
        self._batches: dict[str, _Histogram] = {}
        self._waits: dict[str, _Histogram] = {}
        self._hops: dict[str, _Histogram] = {}
        self._stages: dict[str, _Histogram] = {}
        self._items: dict[str, int] = {}
        self._retries: dict[str, int] = {}
        self._deaths: dict[str, int] = {}
        self._poison: dict[str, int] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def arrived(self) -> None:
        """Count a request into what is in flight; `finished` must follow."""
        self.in_flight += 1

    def finished(self, call: Call | None, *, method: str, status: int, seconds: float, now: float) -> None:
        """Count a request that is over; `call` is None for one that never became a call."""
        self.in_flight -= 1
        key = (status, method if method in METHODS else "other")
        histogram = self._requests.get(key)
        if histogram is None:
            histogram = self._requests[key] = _Histogram(SECONDS)
        histogram.add(seconds)
        if call is not None and call.trace is not None:
            call.trace.end(call, status, now)
        if status == CANCELLED:
            self._outcomes["cancelled"] += 1
            return
        verdict = outcome(status, seconds, self.latency)
        self._window.add(seconds, hit=(verdict == "hit") if verdict else None, now=now)
        if not verdict:
            return
        self._outcomes[verdict] += 1
        if verdict != "hit" and call is not None:
            self.misses.append(
                Miss(
                    call=call.id,
                    reason=verdict,
                    status=status,
                    seconds=seconds,
                    ended=now,
                    spans=tuple(call.spans),
                )
            )

    def dispatched(self, group: str, size: int, waited: float) -> None:
        """Count a batch handed to a replica: its units, and the seconds that its first unit had waited."""
        _of(self._batches, group, SIZES).add(size)
        _of(self._waits, group, SECONDS).add(waited)

    def ran(self, group: str, hop: float, timings: Sequence[Timing], *, is_asked: bool = True) -> None:
        """Count a run that a replica finished: the seconds of hand-off there and back, and its stages.

        is_asked: whether a request was in it; the controller is told of no others, which meet stages that are cold.
        """
        _of(self._hops, group, SECONDS).add(hop)
        if self.tally is not None and is_asked:
            self.tally.ran(group, timings)
        for timing in timings:
            _of(self._stages, timing.stage, SECONDS).add(timing.seconds)
            self._items[timing.stage] = self._items.get(timing.stage, 0) + timing.count

    def retried(self, group: str) -> None:
        """Count a unit that is run again because its replica died."""
        self._retries[group] = self._retries.get(group, 0) + 1

    def died(self, group: str) -> None:
        """Count a replica that ended without being told to."""
        self._deaths[group] = self._deaths.get(group, 0) + 1

    def poisoned(self, group: str) -> None:
        """Count a request that was in two dead dispatches."""
        self._poison[group] = self._poison.get(group, 0) + 1

    def ended(self) -> tuple[int, int]:
        """Requests so far that hit, and that missed."""
        outcomes = self._outcomes
        return outcomes["hit"], outcomes["late"] + outcomes["shed"] + outcomes["failed"]

    def summary(self, now: float) -> Summary:
        """Rate, percentiles and hit rate of the last half minute."""
        return self._window.summary(now)

    def seconds(self, now: float) -> list[Second]:
        """Each of the last whole seconds, oldest first."""
        return self._window.seconds(now)

    def groups(self) -> dict[str, GroupTotal]:
        """What each group has done since the start, by name."""
        return {
            name: GroupTotal(batches=sum(sizes.counts), units=sizes.total, waited=self._waits[name].total)
            for name, sizes in self._batches.items()
        }

    def stages(self) -> dict[str, StageTotal]:
        """What each stage has done since the start, by name."""
        return {
            name: StageTotal(runs=sum(times.counts), items=self._items[name], seconds=times.total)
            for name, times in self._stages.items()
        }

    def miss(self, call: str) -> Miss | None:
        """The latest miss under a call id; None if it hit, is forgotten or never was."""
        return next((miss for miss in reversed(self.misses) if miss.call == call), None)

    def page(self) -> tuple[str, bytes]:
        """The metrics in Prometheus' text format, behind their content type."""
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the front; prometheus_client calls this on a scrape."""
        yield from self._collect_http()
        yield from self._collect_groups()
        yield from self._collect_gauges()

    def _collect_http(self) -> Iterator[Metric]:
        requests = {(str(status), method): found for (status, method), found in self._requests.items()}
        yield _family(REQUESTS, {labels: sum(found.counts) for labels, found in requests.items()}.items())
        yield _family(DURATION, requests.items())
        yield _family(IN_FLIGHT, [((), self.in_flight)])
        outcomes = dict(self._outcomes)
        yield _family(HITS, [((), outcomes.pop("hit"))])
        yield _family(CANCELS, [((), outcomes.pop("cancelled"))])
        yield _family(MISSES, _labelled(outcomes))

    def _collect_groups(self) -> Iterator[Metric]:
        yield _family(BATCHES, _labelled(self._batches))
        yield _family(WAITS, _labelled(self._waits))
        yield _family(HOPS, _labelled(self._hops))
        yield _family(STAGES, _labelled(self._stages))
        yield _family(ITEMS, _labelled(self._items))
        yield _family(RETRIES, _labelled(self._retries))
        yield _family(DEATHS, _labelled(self._deaths))
        yield _family(POISON, _labelled(self._poison))

    def _collect_gauges(self) -> Iterator[Metric]:
        held = self.gauges()
        yield _family(CRASH_LOOP, _labelled(held.looping))
        yield _family(QUEUED, _labelled(held.queued))
        yield _family(REPLICAS, held.replicas.items())
        memory = {"in_use": held.memory_in_use, "held": held.memory_held, "limit": held.memory_limit}
        yield _family(MEMORY, _labelled(memory))
        yield from _collect_gpus(held.gpus)
        if self.adapting is not None:
            yield from _collect_adapting(self.adapting())


def _collect_adapting(counts: Counts) -> Iterator[Metric]:
    yield _family(ADAPTING, [((), float(counts.lives))])
    yield _family(PREDICTED, [((), counts.predicted)] if counts.predicted is not None else [])
    yield _family(ADOPTED, _labelled({"adopted": counts.adopted, "refused": counts.refused}))
    yield _family(CONTROLLER_ENDS, [((), counts.ends)])
    yield _family(DROPPED, [((), counts.dropped)])


def _collect_gpus(gpus: Sequence[Status]) -> Iterator[Metric]:
    """What each function has had of each GPU; nothing where none is shared out."""
    if not gpus:
        return
    books = [((str(number), one.name), one) for number, found in enumerate(gpus) for one in found.usage]
    yield _family(LEASED, [(labels, one.sm_seconds) for labels, one in books])
    yield _family(RESERVED, [(labels, one.reserved_sm_seconds) for labels, one in books])
    yield _family(GRANTS, [(labels, one.grants) for labels, one in books])
    yield _family(LEASE_WAITS, [(labels, one.lease_wait) for labels, one in books])
    yield _family(OVERUSE, [(labels, one.overuse) for labels, one in books])
    memory = [
        ((*labels, state), nbytes)
        for labels, one in books
        for state, nbytes in (
            ("declared", one.declared),
            ("seen", one.seen),
            ("quarantined", one.quarantined),
        )
    ]
    yield _family(GPU_MEMORY, memory)


def _of(histograms: dict[str, _Histogram], label: str, bounds: Sequence[float]) -> _Histogram:
    histogram = histograms.get(label)
    if histogram is None:
        histogram = histograms[label] = _Histogram(bounds)
    return histogram


def _labelled(values: Mapping[str, T]) -> list[tuple[tuple[str], T]]:
    return [((label,), value) for label, value in values.items()]


def _family(named: Named, values: Iterable[tuple[Sequence[str], float | _Histogram]]) -> Metric:
    """Prometheus' form of one metric: a value, or a histogram, by the values of its labels."""
    made: CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
    if named.kind == "counter":
        made = CounterMetricFamily(named.name, named.help, labels=named.labels)
    elif named.kind == "gauge":
        made = GaugeMetricFamily(named.name, named.help, labels=named.labels)
    else:
        made = HistogramMetricFamily(named.name, named.help, labels=named.labels)
    for labels, value in values:
        if isinstance(value, _Histogram):
            if isinstance(made, HistogramMetricFamily):
                made.add_metric(labels, value.buckets(), value.total)
        elif not isinstance(made, HistogramMetricFamily):
            made.add_metric(labels, value)
    return made
