"""What the protocol tells of inference: how many, how long, where the time went.

Only requests through this protocol are counted (HTTP and gRPC); /metrics has all of them. Input and output
are read and written within the queue's and the stages' time, so their own durations stay 0.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from regrain_watchdog.front.call import Span
from regrain_watchdog.front.oip.model import JSONObject, Model


@dataclass(slots=True)
class Duration:
    """Times added up: how many there were, and nanoseconds."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.count += 1
        self.ns += round(seconds * 1e9)

    def told(self) -> JSONObject:
        """As the protocol has it."""
        return {"count": self.count, "ns": self.ns}


@dataclass(slots=True)
class Statistics:
    """Counts of one model since the front started."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    infer: Duration = field(default_factory=Duration)
    items: int = 0
    last: int = 0
    """Unix milliseconds of the last request; 0 before the first."""

    def succeeded(self, seconds: float, items: int, spans: Iterable[Span]) -> None:
        """Count a request that was answered."""
        self.last = round(time.time() * 1e3)
        self.success.add(seconds)
        self.items += items
        waited = served = 0.0
        for span in spans:
            waited += span.seconds if span.kind == "wait" else 0.0
            served += span.seconds if span.kind == "service" else 0.0
        self.queue.add(waited)
        self.infer.add(served)

    def failed(self, seconds: float) -> None:
        """Count a request that was not."""
        self.last = round(time.time() * 1e3)
        self.fail.add(seconds)

    def told(self, model: Model) -> JSONObject:
        """The statistics of a model as JSON values."""
        nothing = Duration().told()
        durations: JSONObject = {
            "success": self.success.told(),
            "fail": self.fail.told(),
            "queue": self.queue.told(),
            "compute_input": nothing,
            "compute_infer": self.infer.told(),
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        }
        return {
            "name": model.name,
            "version": model.version,
            "last_inference": self.last,
            "inference_count": self.items,
            "execution_count": self.success.count,
            "inference_stats": durations,
            "batch_stats": [],
        }
