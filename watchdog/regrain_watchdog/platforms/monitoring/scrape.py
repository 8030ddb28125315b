"""A scrape job of Prometheus that finds the pods of functions, whatever platform has made them. Pure."""

from __future__ import annotations

LABEL = "app"
"""What every series says of its function."""
POD = "__meta_kubernetes_pod"
NAMES = ("label_faas_function", "label_serving_knative_dev_service")
"""Where OpenFaaS and Knative say which function a pod is of."""


def job() -> dict[str, object]:
    """Return the part of Prometheus' configuration that reads functions' metrics, by their pods' annotations."""
    taken = f"{POD}_annotation_prometheus_io"
    rules: list[dict[str, object]] = [
        {"source_labels": [f"{taken}_scrape"], "action": "keep", "regex": "true"},
        _address("([^:]+);(.+)", "$1:$2"),
        _address("(.*:.*);(.+)", "[$1]:$2"),
        {"source_labels": [f"{taken}_path"], "regex": "(.+)", "target_label": "__metrics_path__"},
        *(_named(name) for name in NAMES),
        {"source_labels": [LABEL], "action": "keep", "regex": ".+"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": [f"{POD}_name"], "target_label": "pod"},
    ]
    return {
        "scrape_configs": [
            {
                "job_name": "regrain",
                "kubernetes_sd_configs": [{"role": "pod"}],
                "relabel_configs": rules,
            }
        ]
    }


def _address(pod: str, written: str) -> dict[str, object]:
    """Return where pods are scraped whose address and port have a form: one of IPv6 has colons of its own."""
    ports = [f"{POD}_ip", f"{POD}_annotation_prometheus_io_port"]
    return {"source_labels": ports, "regex": pod, "replacement": written, "target_label": "__address__"}


def _named(name: str) -> dict[str, object]:
    return {"source_labels": [f"{POD}_{name}"], "regex": "(.+)", "target_label": LABEL}
