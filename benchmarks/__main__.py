"""Run the benchmarks one after another: `python -m benchmarks --short` takes a few minutes.

Flags are handed on to each; the peers are left out where BENCH_VENVS does not say where they are installed.
"""

from __future__ import annotations

import os
import subprocess
import sys

BENCHMARKS = (
    "start",
    "memory",
    "weights",
    "hop",
    "ingress",
    "grpc",
    "upstream",
    "remote",
    "reassign",
    "regrain",
    "resident",
    "overload",
    "poison",
    "fuzz",
    "chaos",
    "sigterm",
    "soak",
    "arbiter",
    "emulated",
    "simulate",
    "profile",
    "planner",
    "controller",
    "adapt",
    "gateway",
)


def main() -> int:
    names = [*BENCHMARKS, *(["peers"] if "BENCH_VENVS" in os.environ else [])]
    failed = []
    for name in names:
        print(f"\n== {name}", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False
        ).returncode:
            failed.append(name)
    if "peers" not in names:
        print(
            "\npeers: left out; install them with benchmarks/peers/install.sh FOLDER and set BENCH_VENVS=FOLDER"
        )
    if failed:
        print(f"\nnot finished: {', '.join(failed)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
