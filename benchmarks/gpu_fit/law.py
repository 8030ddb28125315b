"""The forms that T(batch, share) may have, and how each is fitted.

All are fitted on relative error (differences of logarithms) with a loss that lets single outliers go, and with
coefficients that cannot be negative: more share never takes longer, nor does a larger batch take less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from benchmarks.gpu_fit.profile import Floats, Points

OUTLIER = 0.05  # a relative error above this counts linearly
SMALL_SHARE = 0.15  # below it the share, not the launching of kernels, decides the time of most models
TINY = 1e-9
SHARPNESS = (0.5, 100.0)  # of the soft knee: beyond these it is no knee, or a corner


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A law with its free terms; `law(terms, shares, batches)` gives seconds."""

    name: str
    formula: str
    law: Callable[[Floats, Floats, Floats], Floats]
    start: Callable[[float, float], list[float]]  # of work per item and least time


def amdahl(terms: Floats, shares: Floats, batches: Floats) -> Floats:
    """Part of the work divides among the SMs, the rest does not: (a0 + a1 B)/s + b0 + b1 B."""
    a0, a1, b0, b1 = terms
    return (a0 + a1 * batches) / shares + b0 + b1 * batches


def floored(terms: Floats, shares: Floats, batches: Floats) -> Floats:
    """Amdahl's law, but launching the kernels takes m at least: max((a0 + a1 B)/s, m) + b0 + b1 B."""
    a0, a1, m, b0, b1 = terms
    return np.maximum((a0 + a1 * batches) / shares, m) + b0 + b1 * batches


def rounded(terms: Floats, shares: Floats, batches: Floats) -> Floats:
    """The same with a soft knee and no additive rest: (((a0 + a1 B)/s)^n + m^n)^(1/n)."""
    a0, a1, m, n = *terms[:3], np.clip(terms[3], *SHARPNESS)
    work = np.maximum((a0 + a1 * batches) / shares, TINY)
    longer, shorter = np.maximum(work, m), np.minimum(work, m)
    return longer * (1 + (shorter / longer) ** n) ** (1 / n)


FORMS = (
    Form(
        name="amdahl",
        formula="(a0 + a1 B)/s + b0 + b1 B",
        law=amdahl,
        start=lambda item, least: [item, item, least, least / 50],
    ),
    Form(
        name="floored",
        formula="max((a0 + a1 B)/s, m) + b0 + b1 B",
        law=floored,
        start=lambda item, least: [item, item, least, least / 10, least / 50],
    ),
    Form(
        name="rounded",
        formula="(((a0 + a1 B)/s)^n + m^n)^(1/n)",
        law=rounded,
        start=lambda item, least: [item, item, least, 4.0],
    ),
)


def fit(form: Form, points: Points) -> Floats:
    """Return the terms that fit these points best, in seconds."""
    low = points.shares <= max(SMALL_SHARE, float(points.shares.min()))
    per_item = points.seconds * points.shares / points.batches
    start = form.start(float(np.median(per_item[low])), float(points.seconds.min()))

    def miss(logs: Floats) -> Floats:
        got = form.law(np.exp(logs), points.shares, points.batches)
        return np.log(np.maximum(got, TINY) / points.seconds)

    found = least_squares(
        miss, np.log(start), loss="soft_l1", f_scale=OUTLIER, max_nfev=400, bounds=(-60, 60)
    )
    return np.exp(found.x)


def errors(form: Form, terms: Floats, points: Points) -> Floats:
    """Return the absolute relative error at each point."""
    return np.abs(form.law(terms, points.shares, points.batches) / points.seconds - 1)
