"""How a replica ended, and what its callers hear of it."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from regrain.errors import RequestError
from regrain_watchdog.policy.retry import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a replica ended: the stage that it ran, in a sentence why, and whether a timeout was what ended it.

    rerun_bars: the stage of its group that must not run twice, or "".
    """

    stage: str
    detail: str
    timed_out: bool
    rerun_bars: str


def obituary(verdict: Verdict, death: Death) -> RequestError:
    """Return the error of a job that died with its replica and is not tried again."""
    status, detail = HTTPStatus.BAD_GATEWAY, f"the replica died that ran stage {death.stage!r}"
    match verdict:
        case Verdict.LATE:
            status, detail = HTTPStatus.GATEWAY_TIMEOUT, death.detail
        case Verdict.POISON:
            detail = f"poison: {detail}, and another one before that tried the same request"
        case Verdict.ENDED:
            detail = f"{detail}; it is not tried again, since stage {death.rerun_bars!r} may not run twice"
    return RequestError(status, detail, stage=death.stage)


def cut_off(death: Death) -> RequestError:
    """Return the error of a job that died with its replica after items of it had come."""
    if death.timed_out:
        return RequestError(HTTPStatus.GATEWAY_TIMEOUT, death.detail, stage=death.stage)
    detail = f"the replica died that ran stage {death.stage!r}, in the middle of the answer"
    return RequestError(HTTPStatus.BAD_GATEWAY, detail, stage=death.stage)
