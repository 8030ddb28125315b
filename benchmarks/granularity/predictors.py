"""Who predicts for which policy."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from regrain_watchdog.control.learned import Learned
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.predict.verified import Verified
from regrain_watchdog.simulate.predictor import Simulated

VERIFIED, ANALYTIC, SIMULATED, LEARNED = "verified", "analytic", "simulated", "learned"
"""Predictors; the first is the product's own: analytic, what it finds judged by replay."""
ADAPTIVE = {
    "adaptive": (VERIFIED, False),
    "adaptive-fluid": (VERIFIED, True),
    "adaptive-analytic": (ANALYTIC, False),
    "adaptive-simulated": (SIMULATED, False),
    "adaptive-learned": (LEARNED, False),
}
"""The policies that choose the grain: who predicts, and whether groups may be fluid."""


@cache
def predictor(name: str) -> Predictor:
    """Return a predictor by name."""
    made: dict[str, Callable[[], Predictor]] = {
        VERIFIED: lambda: Verified(Analytic(), Simulated()),
        ANALYTIC: Analytic,
        SIMULATED: Simulated,
        LEARNED: Learned,
    }
    return made[name]()
