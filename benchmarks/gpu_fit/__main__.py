"""Fit T(batch, share) to a measured profile, tell the error on held-out points, write the shipped figures.

The share law is fitted to the points at full time quota alone. Quota does not enter the law: it is given by
whoever grants the leases (the arbiter's windows), and the measured effect of another system's windows, which is
printed beside, would not carry over.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.gpu_fit import held_out, ship
from benchmarks.gpu_fit.law import FORMS
from benchmarks.gpu_fit.profile import Profile
from benchmarks.record import RESULTS, Results, table

BAR = 10.0  # per cent, median of the absolute relative errors on held-out points
SHORT, LONG = 0.01, 0.2  # seconds: well within one quota window of the profile, and longer than any


def main() -> None:
    options = _options()
    profile = Profile.read(options.profile)
    complete = profile.complete()
    missing = ship.SHIPPED.keys() - set(complete)
    if missing:
        raise SystemExit(f"{options.profile}: shipped models lack points: {', '.join(sorted(missing))}")
    path = RESULTS / "gpu_fit.jsonl" if options.write else None
    if path:
        path.unlink(missing_ok=True)
        ship.write(profile)
    results = Results(path)
    about = {"points": profile.size, "models": len(profile.models), "complete": len(complete)}
    results.add(
        {"kind": "machine", "benchmark": "gpu_fit", "seed": options.seed, **about, **machine.describe()}
    )
    _fit_all(profile, complete, options.seed, results)
    between = [error for name in ship.SHIPPED for error in held_out.interpolated(ship.table(name, profile))]
    results.add({"kind": "interpolation", **_percent("left_out", between)})
    _quotas(profile, results)
    _summary(results)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_fit",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument("--profile", type=Path, required=True, help="CSV of the measurements")
    parser.add_argument("--seed", type=int, default=1, help="of the folds, default 1")
    parser.add_argument(
        "--write", action="store_true", help="keep the results, and write the shipped figures"
    )
    return parser.parse_args()


def _fit_all(profile: Profile, names: list[str], seed: int, results: Results) -> None:
    """Add a line for each model and form, and one for each form over all shipped and over all models."""
    missed: dict[tuple[str, str], list[float]] = {}
    for name in names:
        points, shipped = profile.points(name), name in ship.SHIPPED
        for form in FORMS:
            ways = {"folds": held_out.folded(form, points, seed), "few": held_out.from_few(form, points)}
            line: dict[str, object] = {"kind": "fit", "model": name, "form": form.name, "shipped": shipped}
            for way, errors in ways.items():
                line |= _percent(way, errors)
                for group in ("all", *(["shipped"] if shipped else [])):
                    missed.setdefault((f"{form.name} {way}", group), []).extend(errors)
            results.add(line)
    for form in FORMS:
        for group in ("shipped", "all"):
            line = {"kind": "form", "form": form.name, "formula": form.formula, "models": group}
            for way in ("folds", "few"):
                line |= _percent(way, missed[f"{form.name} {way}", group])
            results.add(line)


def _percent(way: str, errors: object) -> dict[str, object]:
    median, tail = np.quantile(np.asarray(errors, dtype=np.float64), [0.5, 0.9]) * 100
    return {f"{way}_median": round(float(median), 2), f"{way}_p90": round(float(tail), 2)}


def _quotas(profile: Profile, results: Results) -> None:
    """Add how much longer runs took at less than full quota, for all, for short and for long ones."""
    for quota, pairs in profile.quota_ratios().items():
        full, ratio = np.array(pairs).T
        line = {"kind": "quota", "percent": quota, "of_time": round(100 / quota, 2)}
        for name, which in (("all", full > 0), ("short", full < SHORT), ("long", full > LONG)):
            line[name] = round(float(np.median(ratio[which])), 2)
        results.add(line)


def _summary(results: Results) -> None:
    best = min(
        FORMS, key=lambda form: results.median("folds_median", kind="form", form=form.name, models="shipped")
    )
    head = ["% of held-out points", *(f"{form.name} {what}" for form in FORMS for what in ("median", "p90"))]
    rows = []
    for name in ship.SHIPPED:
        cells = [
            results.median(f"folds_{what}", kind="fit", model=name, form=form.name)
            for form in FORMS
            for what in ("median", "p90")
        ]
        rows.append([name, *cells])
    print(table(head, rows))
    for models in ("shipped", "all"):
        for way in ("folds", "few"):
            value = results.median(f"{way}_median", kind="form", form=best.name, models=models)
            results.bar(f"{best.name}: median error of {models} models, {way}, %", value, at_most=BAR)
    worst = max(
        results.median("folds_median", kind="fit", model=name, form=best.name) for name in ship.SHIPPED
    )
    results.bar(f"{best.name}: median error of the worst shipped model, folds, %", worst, at_most=BAR)


if __name__ == "__main__":
    main()
