"""The learned predictor: boosted trees over what a plan and a load are like, trained on simulated runs.

It takes as long as a look at a few stations, so it suits a search over many plans. Where a plan or a load is unlike all
that it was trained on, it asks the analytic predictor.
"""

from __future__ import annotations

from importlib import resources

import msgspec
import numpy as np
from msgspec import Struct

from regrain.errors import RegrainError, SpecError
from regrain_watchdog.control.learned_features import NAMES
from regrain_watchdog.control.learned_reader import Reader
from regrain_watchdog.control.learned_trees import STRANGE, Trained, Trees, judged, planted
from regrain_watchdog.policy.load import Arrivals
from regrain_watchdog.policy.model import Model
from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Prediction

VERSION = 3
"""Of the features' meaning; what was trained for another is refused."""
MODEL, CARD = "learned_model.txt", "learned_card.json"
MARGIN = 0.15
"""Share of a feature's trained range by which a plan may lie outside of it."""


class LearnedModelError(RegrainError):
    """The trained model cannot be used."""


class Card(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a trained model is made of.

    Attributes:
        version: of the features. features: their names, in order.
        least, most: of each feature in training.
        told, came: the calibration: where the trees say `told`, `came` of the requests were in time; both ascending.
        seed, runs, requests: what it was trained on.
        errors: mean absolute error in points on held-out runs, by what they are of.
        made: with which version of LightGBM.
    """

    version: int
    features: tuple[str, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    told: tuple[float, ...]
    came: tuple[float, ...]
    seed: int
    runs: int
    requests: int
    errors: dict[str, float]
    made: str


class Learned:
    """Predicts by trees; what it needs of a load is kept until another is seen.

    Attributes:
        strange: plans so far that were given to the analytic predictor, being unlike those of the training.
    """

    name = "learned"

    def __init__(self, text: str = "", card: bytes = b"") -> None:
        """Take a trained model, by default the one that is shipped.

        Raises:
            LearnedModelError: it is none, or one for other features.
        """
        folder = resources.files("regrain_watchdog.control")
        self.card = read_card(card or folder.joinpath(CARD).read_bytes())
        least, most = np.array(self.card.least), np.array(self.card.most)
        room = (most - least) * MARGIN
        self._trained = Trained(
            trees=_trees(text or folder.joinpath(MODEL).read_text()),
            least=least - room,
            most=most + room,
            told=np.array(self.card.told),
            came=np.array(self.card.came),
        )
        self._load: Arrivals | None = None
        self._reader: Reader | None = None
        self._analytic = Analytic()
        self.strange = 0

    def predict(self, model: Model, load: Arrivals, *, seed: int = 0) -> Prediction:
        """Return what is expected of a plan; of no requests, that all are answered at once.

        There is no chance in it, so `seed` is not used.

        Raises:
            SpecError: the requests have no widths of the lists that the plan maps over.
        """
        del seed
        if load.widths.shape[1] != model.lists:
            raise SpecError(
                f"the plan maps over {model.lists} lists, and requests have widths of {load.widths.shape[1]}"
            )
        if not len(load):
            return _nothing(model)
        row, answers = self.reader(load).read(model)
        hit_rate = judged(row, self._trained)
        if hit_rate == STRANGE:
            self.strange += 1
            return self._analytic.predict(model, load)
        p50, p95, p99, *busy = answers.tolist()
        return Prediction(hit_rate=hit_rate, p50=p50, p95=p95, p99=p99, busy=tuple(busy))

    def reader(self, load: Arrivals) -> Reader:
        """Return what makes features under a load, and keep it until another is seen."""
        if self._reader is None or load is not self._load:
            self._load, self._reader = load, Reader(load)
        return self._reader


def read_card(data: bytes) -> Card:
    """Read a model's card; LearnedModelError where it is none, or of other features."""
    try:
        card = msgspec.json.decode(data, type=Card)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise LearnedModelError(f"this is no card of a learned predictor: {error}") from error
    if card.version != VERSION or card.features != NAMES:
        raise LearnedModelError(
            f"the learned predictor's model is of version {card.version} with {len(card.features)} features; this "
            f"Regrain needs version {VERSION} with its own {len(NAMES)}: train it again (docs/predictors.md)"
        )
    return card


def _trees(text: str) -> Trees:
    try:
        return planted(text)
    except (ValueError, KeyError) as error:
        raise LearnedModelError(f"this is no model of LightGBM: {error}") from error


def _nothing(model: Model) -> Prediction:
    return Prediction(hit_rate=1.0, p50=0.0, p95=0.0, p99=0.0, busy=(0.0,) * len(model.pools))
