"""Train the learned predictor, or see how far it is from runs of pipelines and traces that it never saw.

`train` simulates random plans under random loads and writes the model that is shipped: up to twenty minutes of one
core. `check` needs what was trained.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from importlib import resources
from pathlib import Path

import msgspec

from benchmarks import machine
from benchmarks.learned.check import check
from benchmarks.learned.draw import drawn
from benchmarks.learned.runs import Runs, simulated
from benchmarks.learned.train import grown
from benchmarks.record import RESULTS, Results, progress
from regrain_watchdog.control.learned import CARD, MODEL

RUNS, SECONDS = 30_000, 1200.0
CELLS = 400


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learned", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("verb", choices=("train", "check"))
    parser.add_argument("--seed", type=int, default=1, help="default 1")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"to train on, default {RUNS}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of simulating, default {SECONDS:g}")
    parser.add_argument("--cells", type=int, default=CELLS, help=f"to check, default {CELLS}")
    parser.add_argument("--traces", type=Path, help="folder of recorded traces; without it `check` has none")
    parser.add_argument(
        "--folder", type=Path, default=_shipped(), help="of the model, default where it is shipped"
    )
    parser.add_argument(
        "--rows", type=Path, help="file of the simulated runs: written, or read where there is one"
    )
    parser.add_argument("--short", action="store_true", help="`check`: 60 cells, not recorded")
    options = parser.parse_args()
    if options.verb == "train":
        _train(options)
        return 0
    path = None if options.short else RESULTS / "learned.jsonl"
    if path:
        path.unlink(missing_ok=True)
    results = Results(path)
    results.add({"kind": "machine", "benchmark": "learned", "seed": options.seed, **machine.describe()})
    check(results, 60 if options.short else options.cells, options.seed, options.traces, options.folder)
    return 0


def _train(options: argparse.Namespace) -> None:
    begin = time.monotonic()
    if options.rows and options.rows.exists():
        runs = Runs.read(options.rows)
    else:
        draws = (drawn(options.seed, number) for number in itertools.count())
        runs = simulated(itertools.islice(draws, options.runs), seconds=options.seconds)
    if options.rows:
        runs.write(options.rows)
    progress(f"{len(runs.hit_rates)} runs of {runs.requests} requests in {time.monotonic() - begin:.0f} s")
    text, card, errors = grown(runs, seed=options.seed)
    (options.folder / MODEL).write_text(text, encoding="utf-8")
    (options.folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n")
    print(
        f"{len(text)} bytes; off by {abs(errors).mean():.2f} points on runs held out, bias {errors.mean():+.2f}"
    )


def _shipped() -> Path:
    return Path(str(resources.files("regrain_watchdog.control")))


if __name__ == "__main__":
    sys.exit(main())
