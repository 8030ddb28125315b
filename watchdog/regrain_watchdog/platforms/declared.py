"""What a function is declared as beside its image: in annotations, labels, variables and resources. Pure."""

from __future__ import annotations

import math

from regrain_watchdog.platforms.function import Function

APP, VERSION, ATTAINMENT = "regrain.dev/app", "regrain.dev/version", "regrain.dev/attainment"
SLO, GRAIN, ADAPT = "regrain.slo", "regrain.grain", "regrain.adapt"
"""Settings, under the names that `regrain gateway` reads."""
HTTP, METRICS, GRPC = 8080, 8081, 9000
"""Ports of a replica."""
SCRAPED = {
    "prometheus.io/scrape": "true",
    "prometheus.io/port": str(METRICS),
    "prometheus.io/path": "/metrics",
}
SCALE = "com.openfaas.scale."
SECRETS = "/var/openfaas/secrets"
"""Where a replica reads its secrets."""
MIB = 1 << 20


def resources(function: Function) -> dict[str, str]:
    """Return what a replica asks for, as Kubernetes writes it; what is not said is left out."""
    found = {}
    if function.cpu:
        found["cpu"] = f"{math.ceil(round(function.cpu * 1000, 6))}m"
    if function.memory:
        found["memory"] = f"{-(-function.memory // MIB)}Mi"
    return found


def secret(name: str) -> str:
    """Return the file of a secret whose one entry has its name."""
    return f"{SECRETS}/{name}"


def autoscaling(function: Function) -> dict[str, str]:
    """Return the labels that OpenFaaS' autoscaler reads."""
    found = {f"{SCALE}min": str(max(function.least, 1))}
    if function.most:
        found[f"{SCALE}max"] = str(function.most)
    if function.target:
        found |= {f"{SCALE}type": "capacity", f"{SCALE}target": str(function.target)}
    if not function.least:
        found[f"{SCALE}zero"] = "true"
    return found
