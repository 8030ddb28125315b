"""Rules and alerts of Prometheus for an app's objective. Pure.

Alerts are by burn rate over two windows each (Google, The Site Reliability Workbook, chapter 5): the budget is the
share of requests that may miss; a burn rate of 1 uses up the budget of 30 days in 30 days. The long window says that it
matters, the short one that it goes on.
"""

from __future__ import annotations

from dataclasses import dataclass

from regrain_watchdog.platforms.monitoring.scrape import LABEL

RATIO = "regrain:miss_ratio:"
SHORTEST = 2
"""Minutes after which a state that is no rate is alerted of."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A burn rate that is alerted of, over a long and a short window."""

    rate: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(14.4, "1h", "5m", "page"),
    Burn(6.0, "6h", "30m", "page"),
    Burn(3.0, "1d", "2h", "ticket"),
    Burn(1.0, "3d", "6h", "ticket"),
)
"""Those of the workbook for 30 days: 2 % of the budget in an hour, 5 % in six, 10 % in a day, all in its time."""


def groups(app: str, attainment: float) -> dict[str, object]:
    """Return the rule file of an app of which that share of requests is to be in time, in (0, 1)."""
    windows = dict.fromkeys(window for burn in BURNS for window in (burn.short, burn.long))
    recorded = [
        {"record": f"{RATIO}rate{window}", "expr": ratio(app, window), "labels": {LABEL: app}}
        for window in windows
    ]
    alerts = [_burning(app, attainment, burn) for burn in BURNS]
    return {"groups": [{"name": f"regrain-{app}", "rules": [*recorded, *alerts, *_states(app, attainment)]}]}


def ratio(app: str, window: str) -> str:
    """Return the share of an app's requests that missed, in PromQL; nothing where none came."""
    misses = f"sum(rate(regrain_misses_total{_of(app)}[{window}]))"
    hits = f"sum(rate(regrain_hits_total{_of(app)}[{window}]))"
    return f"{misses} / ({misses} + {hits})"


def threshold(burn: float, attainment: float) -> float:
    """Return the share of misses from which a burn rate is alerted of.

    Where the budget is so large that not even an outage burns it that fast, it is half-way from the budget to all.
    """
    budget = 1.0 - attainment
    return min(burn * budget, (budget + 1.0) / 2.0) if burn > 1.0 else budget


def _burning(app: str, attainment: float, burn: Burn) -> dict[str, object]:
    over = f"{threshold(burn.rate, attainment):.6g}"
    both = " and ".join(f"{RATIO}rate{window}{_of(app)} > {over}" for window in (burn.long, burn.short))
    return {
        "alert": "RegrainObjectiveBurns",
        "expr": both,
        "labels": {"severity": burn.severity, LABEL: app, "window": burn.long},
        "annotations": {
            "summary": f"{app}: {{{{ $value | humanizePercentage }}}} of the requests of {burn.long} missed",
            "description": f"{attainment:.4g} of the requests are to be in time. `regrain slow` shows what missed.",
        },
    }


def _states(app: str, attainment: float) -> list[dict[str, object]]:
    return [
        _state(
            app,
            "RegrainCrashLoop",
            f"max(regrain_crash_loop{_of(app)}) > 0",
            "page",
            "replicas end as they start",
        ),
        _state(
            app,
            "RegrainControllerAway",
            f"min(regrain_adapting{_of(app)}) < 1",
            "ticket",
            "no controller chooses the plan; the last one stays",
        ),
        _state(
            app,
            "RegrainNoPlanMeetsTheObjective",
            f"max(regrain_predicted_hit_rate{_of(app)}) < {attainment:.6g}",
            "ticket",
            "the plan in force is not predicted to meet the objective: it lacks cores, memory or GPUs",
        ),
    ]


def _state(app: str, alert: str, expression: str, severity: str, says: str) -> dict[str, object]:
    return {
        "alert": alert,
        "expr": expression,
        "for": f"{SHORTEST if severity == 'page' else 5 * SHORTEST}m",
        "labels": {"severity": severity, LABEL: app},
        "annotations": {"summary": f"{app}: {says}"},
    }


def _of(app: str) -> str:
    return f'{{{LABEL}="{app}"}}'
