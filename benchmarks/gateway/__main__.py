"""Measure the gateway: updates, invocations, cold starts, memory of many functions, and what random deaths cost.

`--part` chooses one or several; with `--resume` what is done is kept and the rest is measured. The long form takes
about ten minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import load
from benchmarks.gateway import cold, deaths, invoke, memory, update
from benchmarks.record import Results, arguments

Part = tuple[Callable[[Results, argparse.Namespace], None], Callable[[Results], None]]
PARTS: dict[str, Part] = {
    "update": (update.measure, update.judge),
    "invoke": (invoke.measure, invoke.judge),
    "cold": (cold.measure, cold.judge),
    "memory": (memory.measure, memory.judge),
    "deaths": (deaths.measure, deaths.judge),
}
"""What measures the rounds that there are no rows of, and what holds the rows to their bars."""


def main() -> None:
    parser = arguments("gateway", __doc__ or "", rounds=5, seconds=3.0)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all; may be repeated")
    options = parser.parse_args()
    if "invoke" in (options.part or PARTS):
        load.require_wrk()
    results = Results.open("gateway", options, free=("part",))
    for name in options.part or PARTS:
        measure, judge = PARTS[name]
        measure(results, options)
        judge(results)


if __name__ == "__main__":
    main()
