"""python -m benchmarks.granularity: run a part of the protocol, or report what was run."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cells.pipelines import OCR
from benchmarks.granularity import protocol as protocols
from benchmarks.granularity import report, run
from regrain.errors import SpecError


def main() -> None:
    protocol = protocols.read()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.granularity", description=__doc__)
    parser.add_argument(
        "--part", choices=(*run.STEADY, *run.DAYS, run.TOGETHER, run.LIVE, "report"), default="core"
    )
    parser.add_argument("--only", action="append", default=[], metavar="PIPELINE", help="by default all")
    parser.add_argument("--seeds", type=int, help="or days; by default those of the protocol, of ablations 1")
    parser.add_argument("--policy", action="append", default=[], help="of days; by default all")
    parser.add_argument("--resume", action="store_true", help="keep the rows that there are")
    parser.add_argument("--traces", type=Path, help="folder of the Azure LLM traces")
    parser.add_argument("--out", type=Path, default=run.RESULTS, help="folder of results")
    parser.add_argument("--workers", type=int, default=2, help="processes, default 2")
    parser.add_argument(
        "--budget", type=float, default=float("inf"), help="seconds after which nothing more is begun"
    )
    parser.add_argument(
        "--apps",
        type=Path,
        default=run.FOLDER,
        help=f"folder of the apps that are run live, default {run.FOLDER}",
    )
    given = parser.parse_args()
    for name in given.only:
        if (given.part, name) != (run.LIVE, OCR.name):
            protocol.pipeline_named(name)
    if given.part == "report":
        print(report.write(given.out))
        return
    order = run.Order(
        part=given.part,
        only=tuple(given.only),
        seeds=given.seeds or run.seeds(protocol, given.part),
        resume=given.resume,
        traces=given.traces,
        out=given.out,
        workers=given.workers,
        policies=tuple(given.policy),
        budget=given.budget,
        apps=given.apps,
    )
    try:
        run.run(order)
    except SpecError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
