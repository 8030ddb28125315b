"""What every predictor of the hit rate does, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What is expected of a plan under a load.

    Attributes:
        hit_rate: share of all offered requests that are answered in time, in [0, 1].
        p50, p95, p99: seconds from arrival to answer, of those that are answered; infinite where the load is more than
            the plan bears.
        busy: for each pool, the share of its servers' time that dispatches take.
        spread: standard error of the hit rate as far as the predictor knows it; 0.0 where it does not.
    """

    hit_rate: float
    p50: float
    p95: float
    p99: float
    busy: tuple[float, ...]
    spread: float = 0.0


class Predictor(Protocol):
    """Predicts; holds no clock, and draws what is random from `seed` alone."""

    @property
    def name(self) -> str:
        """The predictor's name in settings, logs and reports."""
        ...

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan.

        Args:
            model: the plan as numbers.
            load: requests such as those that are to come: a window that was seen, or a forecast.
            seed: equal seeds give equal predictions.
        """
        ...
