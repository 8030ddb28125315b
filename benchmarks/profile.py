"""Measure how well a profile tells the times of an emulated GPU, which it sees as a client does: by its leased calls.

An app of one stage for each of some shipped models is profiled for a while. Then the profile's times are held against
the table that the emulator holds kernels by: at the points that were measured, and at every share and batch between
them. What a hop is measured to take is recorded beside it.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.record import Record, Results, arguments, table
from regrain_runtime.emulated.models import Model, model_named
from regrain_watchdog.cli.describe import describe
from regrain_watchdog.front.config import Config
from regrain_watchdog.policy.profile import Profile, StageProfile
from regrain_watchdog.policy.service import ServiceTime
from regrain_watchdog.profile.fit import fit
from regrain_watchdog.profile.session import Effort
from regrain_watchdog.profile.take import take

MODELS = ("resnet50", "inception_v3", "efficientnet_b4", "convnext_large")
STAGE = """

@app.batched(max_size=8, gpu=GPU(memory="2Gi"))
def {name}(text: list[str]) -> list[str]:
    return text
"""
HEAD = 'from regrain import GPU, App\n\napp = App("models", sample={"text": "a"})\n'
FLOW = "\n\n@app.flow\ndef flow(text: str) -> str:\n    return {calls}\n"
BETWEEN = np.arange(0.05, 1.0001, 0.0125)
BAR = 5.0  # per cent


def main() -> None:
    options = arguments("profile", __doc__ or "", rounds=3, seconds=120.0).parse_args()
    results = Results.open("profile", options)
    for turn in range(options.rounds):
        if not results.has(kind="hop", round=turn):
            _round(turn, options.seconds, results)
    print(_summary(results))
    for name in MODELS:
        results.bar(
            f"{name}: error at any share and batch, median, %",
            results.median("between_median_percent", kind="model", model=name),
            at_most=BAR,
        )


def _round(turn: int, seconds: float, results: Results) -> None:
    profile = _profile(turn, seconds)
    for name in MODELS:
        line: Record = {"kind": "model", "round": turn, "model": name}
        results.add({**line, **_against(model_named(name), profile.stages[name])})
    hop = {"hop_us": profile.hop.seconds * 1e6, "hop_us_per_mib": profile.hop.per_byte * 1e6 * (1 << 20)}
    results.add({"kind": "hop", "round": turn, **hop, "fused_us": (profile.fused or 0.0) * 1e6})


def _profile(seed: int, seconds: float) -> Profile:
    """Profile an app of all models, with jitter and a drift that the profile must not see."""
    with tempfile.TemporaryDirectory() as folder:
        calls = "text"
        for name in MODELS:
            calls = f"{name}({calls})"
        app, scenario = Path(folder) / "models_app.py", Path(folder) / "scenario.toml"
        app.write_text(HEAD + "".join(STAGE.format(name=name) for name in MODELS) + FLOW.format(calls=calls))
        stages = "".join(
            f'[emulated.stages.{name}]\nmodel = "{name}"\nload_time = "10ms"\n' for name in MODELS
        )
        scenario.write_text(f"[emulated]\nseed = {seed}\njitter = 0.1\ndrift = 0.1\n{stages}")
        taken = take(
            str(app),
            describe(str(app)),
            out=Path(folder) / "profile.json",
            inputs=(),
            config=Config(gpus="emulated:v100", scenario=str(scenario)),
            effort=Effort(time=seconds),
            told=lambda _: None,
        )
        return asyncio.run(taken).profile


def _against(model: Model, stage: StageProfile) -> Record:
    """Return how far off a stage's profile is: at its points, between them, and by its own account."""
    at = np.array([point.seconds / model.time(point.batch, point.share) - 1 for point in stage.points]) * 100
    times = ServiceTime.of(model.name, stage)
    between = np.array(
        [
            times.call(batch, share)[0] / model.time(batch, share) - 1
            for batch in range(1, int(times.batches[-1]) + 1)
            for share in BETWEEN
            if share >= times.shares[0]
        ]
    )
    between *= 100
    return {
        "points": len(stage.points),
        "at_median_percent": float(np.median(np.abs(at))),
        "between_median_percent": float(np.median(np.abs(between))),
        "between_p95_percent": float(np.quantile(np.abs(between), 0.95)),
        "bias_percent": float(between.mean()),
        "own_account_percent": fit(model.name, stage).median * 100,
    }


def _summary(results: Results) -> str:
    fields = (
        "points",
        "at_median_percent",
        "between_median_percent",
        "between_p95_percent",
        "bias_percent",
        "own_account_percent",
    )
    rows = [[name, *(results.median(field, kind="model", model=name) for field in fields)] for name in MODELS]
    hops = ("hop_us", "hop_us_per_mib", "fused_us")
    return "\n\n".join(
        (
            table(["model", *fields], rows),
            table(hops, [[results.median(field, kind="hop") for field in hops]]),
        )
    )


if __name__ == "__main__":
    main()
