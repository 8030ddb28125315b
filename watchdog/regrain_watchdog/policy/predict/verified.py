"""Two predictors as one: a quick one to search by, and a sure one whose word counts."""

from __future__ import annotations

from dataclasses import dataclass

from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model
from regrain_watchdog.policy.predict.predictor import Prediction, Predictor


@dataclass(slots=True)
class Verified:
    """Predicts as `sure` does. A planner searches by `quick`, and chooses among what `sure` was asked about.

    sure: None for as long as it cannot be had yet: then it is the quick one in all.
    """

    quick: Predictor
    sure: Predictor | None = None

    @property
    def name(self) -> str:
        """The predictor's name; that of the quick one while it is alone."""
        return "verified" if self.sure is not None else self.quick.name

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan."""
        return (self.sure or self.quick).predict(model, load, seed=seed)
