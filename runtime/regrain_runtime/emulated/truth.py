"""How long a kernel of an emulated GPU takes: measured points, made to vary as a real one varies.

Predictors must not see it. They learn by measuring, here as on a real GPU, and what they measured last week
(without drift, alone on the card) is not quite what they meet today.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist

from regrain.cards import Card
from regrain.errors import SpecError
from regrain.wire.lease import Beside
from regrain_runtime.emulated.scenario import Scenario, Standing

# How many times as fast as the measured V100: the geometric mean of two ratios off NVIDIA's data sheets, of
# 32-bit floating point (15.7, 31.2, 19.5, 67 TFLOPS) and of memory bandwidth (900, 600, 1555, 4800 GB/s), since
# the measured models are bound by now the one, now the other. An assumption: nothing was measured on them.
SPEED: Mapping[str, float] = {"v100": 1.0, "a10": 1.15, "a100": 1.46, "h200": 4.77}

_BITS = 52  # of the digest; half a step more and the quotient still is a float below 1
_NORMAL = NormalDist()


class Truth:
    """The times and the memory of one emulated card, a pure function of its arguments and the scenario's seed.

    The time of one kernel of stage i, a batch of B on share s beside co-runners j that hold shares s_j:

        T = M(B, s) * scale / speed * (1 + drift) * (1 + k * sum_j p_j s_j) * J

    with M the measured time of its model (interpolated, `models.Model.time`), speed the card's against the
    measured one, drift the stage's own lasting deviation, k the scenario's `interference`, p_j the `pressure`
    of stage j, and J lognormal with mean 1 and the scenario's `jitter` as its coefficient of variation.

    The interference term is first order in what the others demand, as iGniter's and gpulet's are in their
    neighbours' cache and bandwidth use; with the default k, neighbours that fill the card cost 15 %, which is
    the middle of what MPS studies report (from nothing to 30 %). The time is settled when the kernel starts.

    Args:
        scenario: what each stage stands for.
        card: the type of GPU.
        drifting: False while a profile is taken: drift is what came after.
    """

    def __init__(self, scenario: Scenario, card: Card, *, drifting: bool = True) -> None:
        self.scenario = scenario
        self.card = card
        self.drifting = drifting
        # mean 1 and CV c: sigma^2 = ln(1 + c^2), mu = -sigma^2 / 2
        self._sigma = math.sqrt(math.log1p(scenario.jitter**2))

    def seconds(
        self, stage: str, batch: int, share: float, *, others: float = 0.0, key: str = "", call: int = 0
    ) -> float:
        """Return the seconds that one kernel holds its lease.

        Args:
            stage: name in the scenario.
            batch: items in it, at least 1.
            share: of the card's SMs; between the smallest share that was measured and 1.
            others: sum of share times pressure over those that run at the same time.
            key: of the request, so that jitter does not depend on who was served before it.
            call: which of this request's kernels on this stage it is.

        Raises:
            SpecError: an unknown stage, or an argument outside what is allowed.
        """
        standing = self._standing(stage)
        if not (math.isfinite(others) and others >= 0):
            raise SpecError(f"the shares of others must add up to 0 or more, was {others}")
        solo = standing.measured.time(batch, share) * standing.scale / SPEED[self.card.name]
        crowd = 1 + self.scenario.interference * others
        return solo * (1 + self.drift(stage)) * crowd * self._jitter("run", stage, key, call)

    def load_seconds(self, stage: str, *, key: str = "", call: int = 0) -> float:
        """Return the seconds of one load of a stage; `key` says which replica's it is."""
        return self._standing(stage).load_seconds() * self._jitter("load", stage, key, call)

    def memory(self, loaded: Iterable[str], running: str = "", batch: int = 0) -> int:
        """Return the bytes of one process that has some stages loaded and runs one of them on a batch.

        One context, the weights of all that are loaded, and the activations of the one that runs ("" for none).
        """
        weights = sum(self._standing(stage).weight_bytes() for stage in loaded)
        activations = self._standing(running).activation_bytes() if running else 0
        return self.scenario.context_bytes() + weights + batch * activations

    def pressure(self, stage: str) -> float:
        """Return how much a stage slows others down, for each part of the card that it holds."""
        return self._standing(stage).pressure

    def others(self, beside: Iterable[Beside]) -> float:
        """Return the sum of share times pressure over the leases that are held at the same time.

        Which stage of a function runs is not known, so its pressure is that of the stage of it that has most, and 1
        where the scenario names none of them (a function of another app).
        """
        return sum(self._pressing(one.name) * one.sms for one in beside) / self.card.sms

    def drift(self, stage: str) -> float:
        """Return the part by which a stage is off for good: its own, or one drawn within the scenario's."""
        own = self._standing(stage).drift
        if not self.drifting:
            return 0.0
        if own is not None:
            return own
        return self.scenario.drift * (2 * self._uniform("drift", stage) - 1)

    def _pressing(self, function: str) -> float:
        stages = function.rpartition("/")[2].split("+")
        return max((self.pressure(stage) for stage in stages if stage in self.scenario.stages), default=1.0)

    def _standing(self, stage: str) -> Standing:
        found = self.scenario.stages.get(stage)
        if found is None:
            known = ", ".join(self.scenario.stages) or "none"
            raise SpecError(f"the scenario does not say what stage {stage!r} stands for; it names {known}")
        return found

    def _jitter(self, *key: str | int) -> float:
        z = _NORMAL.inv_cdf(self._uniform(*key))
        return math.exp(self._sigma * (z - self._sigma / 2))

    def _uniform(self, *key: str | int) -> float:
        """Return a number in (0, 1) that the seed and the key alone decide."""
        digest = hashlib.blake2b(repr((self.scenario.seed, *key)).encode(), digest_size=8).digest()
        return ((int.from_bytes(digest) >> (64 - _BITS)) + 0.5) / (1 << _BITS)
