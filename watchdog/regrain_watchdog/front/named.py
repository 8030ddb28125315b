"""Every metric of the front: its name, what it tells, its labels and its bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True, slots=True)
class Named:
    """A metric: its name, what it tells, and its labels. A counter's name gains `_total` on the page."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...] = ()


REQUESTS = Named(
    "counter", "http_requests", "Requests by status and method; 499: the caller left.", ("code", "method")
)
DURATION = Named(
    "histogram", "http_request_duration_seconds", "Time from body read to answer.", ("code", "method")
)
IN_FLIGHT = Named("gauge", "http_requests_in_flight", "Requests being served.")
HITS = Named("counter", "regrain_hits", "Correct answers within the objective.")
MISSES = Named("counter", "regrain_misses", "Requests that missed: late, shed or failed.", ("reason",))
CANCELS = Named("counter", "regrain_cancelled", "Requests whose caller went away.")
BATCHES = Named("histogram", "regrain_batch_size", "Units that were dispatched together.", ("group",))
WAITS = Named("histogram", "regrain_queue_wait_seconds", "Wait of a dispatch's first unit.", ("group",))
HOPS = Named("histogram", "regrain_hop_seconds", "Hand-off to a replica and back.", ("group",))
STAGES = Named("histogram", "regrain_stage_seconds", "Service time of a stage in one run.", ("stage",))
ITEMS = Named("counter", "regrain_stage_items", "Inputs that a stage was called with.", ("stage",))
RETRIES = Named("counter", "regrain_retries", "Units run again because their replica died.", ("group",))
DEATHS = Named("counter", "regrain_replica_deaths", "Replicas that ended without being told to.", ("group",))
POISON = Named("counter", "regrain_poison", "Requests that ended two replicas and were given up.", ("group",))
CRASH_LOOP = Named("gauge", "regrain_crash_loop", "1 where replicas end as soon as they start.", ("group",))
QUEUED = Named("gauge", "regrain_queue_units", "Units waiting for a replica.", ("group",))
REPLICAS = Named(
    "gauge",
    "regrain_replicas",
    "Worker processes; in state guest those of other groups that stand in.",
    ("group", "state"),
)
MEMORY = Named("gauge", "regrain_shared_memory_bytes", "Shared memory: in_use, held or limit.", ("state",))
SHARED = ("gpu", "function")
LEASED = Named("counter", "regrain_gpu_sm_seconds", "SMs x seconds of lease, time over it included.", SHARED)
RESERVED = Named(
    "counter", "regrain_gpu_reserved_sm_seconds", "SMs x seconds of floors, used or not.", SHARED
)
GRANTS = Named("counter", "regrain_gpu_grants", "Leases of a GPU.", SHARED)
LEASE_WAITS = Named("counter", "regrain_gpu_lease_wait_seconds", "Wait for leases of a GPU.", SHARED)
OVERUSE = Named(
    "counter", "regrain_gpu_overuse_seconds", "Time that leases were held over what was granted.", SHARED
)
GPU_MEMORY = Named(
    "gauge", "regrain_gpu_memory_bytes", "GPU memory: declared, seen or quarantined.", (*SHARED, "state")
)
GPU_METRICS = (LEASED, RESERVED, GRANTS, LEASE_WAITS, OVERUSE, GPU_MEMORY)
ADAPTING = Named("gauge", "regrain_adapting", "1 while a controller chooses the plan and can be reached.")
PREDICTED = Named("gauge", "regrain_predicted_hit_rate", "Hit rate that is predicted of the plan in force.")
ADOPTED = Named(
    "counter", "regrain_plans", "Plans that the controller asked for, by what came of them.", ("outcome",)
)
CONTROLLER_ENDS = Named("counter", "regrain_controller_ends", "Times that the controller ended or hung.")
DROPPED = Named("counter", "regrain_controller_reports_dropped", "Seconds that the controller was behind.")
ADAPTING_METRICS = (ADAPTING, PREDICTED, ADOPTED, CONTROLLER_ENDS, DROPPED)
METRICS = (
    *(REQUESTS, DURATION, IN_FLIGHT, HITS, MISSES, CANCELS, BATCHES, WAITS, HOPS, STAGES, ITEMS, RETRIES),
    *(DEATHS, POISON, CRASH_LOOP, QUEUED, REPLICAS, MEMORY, *GPU_METRICS),
    *ADAPTING_METRICS,
)
