"""Measure the gateway: updates, invocations, cold starts, memory of many functions, and what random deaths cost.

`--part` chooses one or several; with `--resume` what is done is kept and the rest is measured. The long form takes
about ten minutes.
"""

from __future__ import annotations

from benchmarks import load
from benchmarks.gateway import cold, deaths, invoke, memory, update
from benchmarks.record import Results, arguments

PARTS = {
    "update": update.measure,
    "invoke": invoke.measure,
    "cold": cold.measure,
    "memory": memory.measure,
    "deaths": deaths.measure,
}


def main() -> None:
    parser = arguments("gateway", __doc__ or "", rounds=5, seconds=3.0)
    parser.add_argument("--part", action="append", choices=PARTS, help="default: all; may be repeated")
    options = parser.parse_args()
    if "invoke" in (options.part or PARTS):
        load.require_wrk()
    results = Results.open("gateway", options)
    for name in options.part or PARTS:
        if not results.has(kind="done", part=name):
            PARTS[name](results, options)
            results.add({"kind": "done", "part": name})


if __name__ == "__main__":
    main()
