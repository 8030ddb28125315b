"""`python -m regrain_runtime describe MODULE`, `... gpu`, and processes that the watchdog starts by itself.

describe prints the app's manifest as JSON; exit code 2 and one line on standard error if it cannot. gpu prints the GPUs
here, and what each way of sharing them claims and can do, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import NoReturn

import msgspec

from regrain import manifest
from regrain.errors import LoadError, RegrainError
from regrain.lines import formatter
from regrain_runtime import output

SERVING = ("zygote", "replica")
"""Commands whose process runs for as long as the app is served."""


def main(argv: list[str] | None = None) -> int:
    """Run one of the runtime's commands; return the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.command in SERVING:
        output.outlive_readers()
    configure_logging(os.environ)
    if arguments.command == "describe":
        return describe(arguments.module)
    if arguments.command == "gpu":
        return gpu()
    if arguments.command == "terminate":
        return terminate(arguments.pid)
    if arguments.command == "measure":
        from regrain_runtime import measure  # noqa: PLC0415 - describe needs none of it

        return measure.main(arguments.module)
    if arguments.command == "zygote":
        from regrain_runtime import zygote  # noqa: PLC0415 - describe needs none of it

        return zygote.main(socket.socket(fileno=arguments.fd[0]), arguments.module)
    return replica(arguments.fd, arguments.module, arguments.digest)


def configure_logging(environ: Mapping[str, str]) -> None:
    """Log to stderr as the front does, which has checked the settings and hands them on."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(environ.get("REGRAIN_LOG_FORMAT", "")))
    levels = logging.getLevelNamesMapping()
    logging.basicConfig(
        level=levels.get(environ.get("REGRAIN_LOG_LEVEL", "").upper(), logging.INFO), handlers=[handler]
    )


def describe(target: str) -> int:
    """Print the manifest of an app; what its module prints is no part of it, and goes to standard error."""
    from regrain_runtime import module  # noqa: PLC0415 - --help needs none of it

    printed = sys.stdout  # the module may close it, or put another in its place
    with output.take_stdout() as answers:
        try:
            data = manifest.dumps(module.manifest(module.load(target), target))
        except RegrainError as error:
            with contextlib.suppress(OSError, ValueError):
                printed.flush()  # the reason comes last, behind what the module has printed
            print(f"regrain: {error}", file=sys.stderr)  # noqa: T201 - a command's output
            return 2
        answers.write(data + b"\n")
    return 0


def gpu() -> int:
    """Print what this machine has of GPUs and can do with them."""
    from regrain_runtime.gpu import doctor  # noqa: PLC0415 - describe needs none of it

    sys.stdout.buffer.write(msgspec.json.encode(doctor.report()) + b"\n")
    return 0


def terminate(pid: int) -> int:
    """Have the control daemon of MPS terminate a client; exit code 1 and one line if it cannot."""
    from regrain_runtime.gpu import mps  # noqa: PLC0415 - describe needs none of it

    try:
        mps.terminate(mps.Daemon(), pid)
    except RegrainError as error:
        print(f"regrain: {error}", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    return 0


def replica(descriptors: list[int], target: str, digest: str) -> NoReturn:
    """Be a replica that was started afresh, for modules that must not be forked; `digest` says of which version."""
    from regrain_runtime import forks, loop, module  # noqa: PLC0415 - heavy, and this process only

    forks.leave_signals_to_the_front()
    leash, *rest = descriptors

    def work() -> int:
        forks.leash(leash)
        try:
            app = module.load(target)
            if digest != module.manifest(app, target).digest:
                raise LoadError(f"{target} on disk is not the version that is served; run `regrain update`")
        except RegrainError as error:
            print(f"regrain: {error}", file=sys.stderr)  # noqa: T201 - the last word of a dying process
            return 2
        loop.attach(app, *rest).serve()
        return 0

    forks.live(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m regrain_runtime", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("gpu", help="print the GPUs here and what can be done with them, as JSON")
    ended = commands.add_parser("terminate", help="end a client of NVIDIA's Multi-Process Service")
    ended.add_argument("pid", type=int)
    for name, help_text in (
        ("describe", "print the app's manifest as JSON"),
        ("measure", "time the app's stages (started by regrain profile)"),
        ("zygote", "import the module and fork replicas (started by the front)"),
        ("replica", "be one replica (started by the front)"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("module", help="a file, a folder with app.py or handler.py, or a module name")
        command.add_argument("--digest", default="", help=argparse.SUPPRESS)
        command.add_argument("--fd", type=int, action="append", default=[], help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
