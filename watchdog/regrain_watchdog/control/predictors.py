"""The predictors by name; what one needs is imported, and compiled, only where it is asked for.

Replay is compiled for some seconds, the first time for many, and so is what the learned one is made of. So a live
controller decides by the analytic one until a thread has got the one that is wanted ready.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.predict.verified import Verified

ANALYTIC, VERIFIED = "analytic", "verified"
REPLAYED = 4000
"""Requests that are replayed at least to verify a plan: of a thousand, chance alone is most of a point."""


def predictor(name: str) -> Predictor:
    """Return a predictor that is ready.

    Raises:
        RegrainError, ImportError: what it needs is not there.
    """
    made: dict[str, Callable[[], Predictor]] = {
        VERIFIED: lambda: Verified(Analytic(), _replay(REPLAYED)),
        ANALYTIC: Analytic,
        "simulated": _replay,
        "learned": _learned,
    }
    return made[name]()


class Readying:
    """Gets a predictor ready beside whatever else is done.

    Attributes:
        pair: what predicts meanwhile: queueing theory; from `settle` on as the one that is wanted.
    """

    def __init__(self, name: str) -> None:
        self.pair = Verified(Analytic())
        self._ready: Future[Predictor] = Future()
        threading.Thread(target=self._make, args=(name,), name="compile", daemon=True).start()

    def settle(self) -> bool:
        """Have the one that is wanted from now on if it is ready; return whether there is no more to wait for.

        Raises:
            Exception: it cannot be had, and will not be; of any kind, since it is compiled by others' code.
        """
        if not self._ready.done():
            return False
        found = self._ready.result()
        if isinstance(found, Verified):
            self.pair.sure = found.sure
        else:
            self.pair.quick = found
        return True

    def _make(self, name: str) -> None:
        try:
            self._ready.set_result(predictor(name))
        except Exception as error:  # is told by `settle`
            self._ready.set_exception(error)


def _replay(least: int = 1000) -> Predictor:
    from regrain_watchdog.simulate.predictor import Simulated, smallest  # noqa: PLC0415  # compiles for seconds

    Simulated(least=1).predict(*smallest())
    return Simulated(least)


def _learned() -> Predictor:
    from regrain_watchdog.control.learned import Learned  # noqa: PLC0415  # compiles for seconds
    from regrain_watchdog.simulate.predictor import smallest  # noqa: PLC0415  # compiles for seconds

    Learned().predict(*smallest())
    return Learned()
