"""A dashboard of Grafana for an app. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from regrain_watchdog.platforms.monitoring.scrape import LABEL

WIDTH, HEIGHT, COLUMNS = 12, 8, 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECTED = f'{{{LABEL}="$app"}}'
WINDOW = "[$__rate_interval]"
LONGEST = 40
"""Characters of a dashboard's uid at most, as Grafana has it; of two with the same the later replaces the other."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: its title, its unit as Grafana names it, and what it shows, by legend."""

    title: str
    unit: str
    shown: dict[str, str]


def _rate(name: str, by: str = "") -> str:
    return f"sum{by and f' by ({by})'} (rate({name}{SELECTED}{WINDOW}))"


def _mean(name: str, by: str) -> str:
    return f"{_rate(f'{name}_sum', by)} / {_rate(f'{name}_count', by)}"


def _quantile(share: float, name: str) -> str:
    return f"histogram_quantile({share:g}, {_rate(f'{name}_bucket', 'le')})"


def _outside(attainment: float) -> tuple[Panel, ...]:
    """Return what callers see."""
    hits, misses = _rate("regrain_hits_total"), _rate("regrain_misses_total")
    return (
        Panel(
            "Hit rate",
            "percentunit",
            {
                "measured": f"{hits} / ({hits} + {misses})",
                "predicted": f"avg(regrain_predicted_hit_rate{SELECTED})",
                "objective": f"vector({attainment:g})",
            },
        ),
        Panel("Requests", "reqps", {"{{code}}": _rate("http_requests_total", "code")}),
        Panel(
            "Latency",
            "s",
            {
                f"p{share * 100:g}": _quantile(share, "http_request_duration_seconds")
                for share in (0.5, 0.95, 0.99)
            },
        ),
        Panel("Misses", "reqps", {"{{reason}}": _rate("regrain_misses_total", "reason")}),
        Panel("In flight", "short", {"{{pod}}": f"sum by (pod) (http_requests_in_flight{SELECTED})"}),
    )


def _inside() -> tuple[Panel, ...]:
    """Return what goes on behind it."""
    return (
        Panel("Waiting units", "short", {"{{group}}": f"sum by (group) (regrain_queue_units{SELECTED})"}),
        Panel("Wait for a replica", "s", {"{{group}}": _mean("regrain_queue_wait_seconds", "group")}),
        Panel("Service time", "s", {"{{stage}}": _mean("regrain_stage_seconds", "stage")}),
        Panel("Batch", "short", {"{{group}}": _mean("regrain_batch_size", "group")}),
        Panel(
            "Replicas",
            "short",
            {"{{group}} {{state}}": f"sum by (group, state) (regrain_replicas{SELECTED})"},
        ),
        Panel("Changes of plan", "cps", {"{{outcome}}": _rate("regrain_plans_total", "outcome")}),
        Panel(
            "GPU, SMs",
            "short",
            {
                "{{function}} leased": _rate("regrain_gpu_sm_seconds_total", "function"),
                "{{function}} reserved": _rate("regrain_gpu_reserved_sm_seconds_total", "function"),
            },
        ),
        Panel(
            "GPU memory",
            "bytes",
            {"{{function}} {{state}}": f"sum by (function, state) (regrain_gpu_memory_bytes{SELECTED})"},
        ),
        Panel(
            "Deaths of replicas",
            "cps",
            {
                "{{group}}": _rate("regrain_replica_deaths_total", "group"),
                "given up": _rate("regrain_poison_total"),
            },
        ),
    )


def dashboard(app: str, attainment: float) -> dict[str, object]:
    """Return the dashboard of an app of which that share of requests is to be in time."""
    return {
        "title": f"Regrain: {app}",
        "uid": _uid(app),
        "tags": ["regrain"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {"name": "app", "type": "constant", "query": app},
            ]
        },
        "panels": [_panel(place, panel) for place, panel in enumerate((*_outside(attainment), *_inside()))],
    }


def _uid(app: str) -> str:
    """Return a name that no other app has: what is cut has a digest of all of it."""
    whole = f"regrain-{app}"
    if len(whole) <= LONGEST:
        return whole
    digest = blake3(whole.encode()).hexdigest()[:8]
    return f"{whole[: LONGEST - 1 - len(digest)]}-{digest}"


def _panel(place: int, panel: Panel) -> dict[str, object]:
    per_row = COLUMNS // WIDTH
    return {
        "id": place + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": place % per_row * WIDTH, "y": place // per_row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
            }
            for number, (legend, expression) in enumerate(panel.shown.items())
        ],
    }
