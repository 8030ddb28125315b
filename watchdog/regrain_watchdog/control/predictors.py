"""The predictors by name; what one needs is imported, and compiled, only where it is asked for.

Replay is compiled for some seconds, the first time for many. So a live controller has the `verified` predictor at once
as the analytic one alone, and as both when a thread has got replay ready.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from regrain_watchdog.policy.predict.analytic import Analytic
from regrain_watchdog.policy.predict.predictor import Predictor
from regrain_watchdog.policy.predict.verified import Verified

VERIFIED = "verified"
REPLAYED = 4000
"""Requests that are replayed at least to verify a plan: of a thousand, chance alone is most of a point."""


def predictor(name: str) -> Predictor:
    """Return a predictor that is ready.

    Raises:
        RegrainError, ImportError: what it needs is not there.
    """
    made: dict[str, Callable[[], Predictor]] = {
        VERIFIED: lambda: Verified(Analytic(), _replay(REPLAYED)),
        "analytic": Analytic,
        "simulated": _replay,
        "learned": _learned,
    }
    return made[name]()


class Readying:
    """Gets the sure one of two predictors ready beside whatever else is done.

    Attributes:
        pair: the two; the quick one alone until `settle` is called when the other one is ready.
    """

    def __init__(self) -> None:
        self.pair = Verified(Analytic())
        self._ready: Future[Predictor] = Future()
        threading.Thread(target=self._make, name="compile", daemon=True).start()

    def settle(self) -> bool:
        """Have both from now on if the sure one is ready; return whether there is no more to wait for.

        Raises:
            Exception: it cannot be had, and will not be; of any kind, since it is compiled by others' code.
        """
        if not self._ready.done():
            return False
        self.pair.sure = self._ready.result()
        return True

    def _make(self) -> None:
        try:
            self._ready.set_result(_replay(REPLAYED))
        except Exception as error:  # is told by `settle`
            self._ready.set_exception(error)


def _replay(least: int = 1000) -> Predictor:
    from regrain_watchdog.simulate.predictor import Simulated, warm  # noqa: PLC0415  # compiles for seconds

    warm()
    return Simulated(least)


def _learned() -> Predictor:
    from regrain_watchdog.control.learned import Learned  # noqa: PLC0415  # compiles for seconds

    return Learned()
