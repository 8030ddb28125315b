"""Who predicts for which policy."""

from __future__ import annotations

from functools import cache

from regrain_watchdog.control import predictors
from regrain_watchdog.policy.predict.predictor import Predictor

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
    """Return a predictor by name, as the product has it."""
    return predictors.predictor(name)
