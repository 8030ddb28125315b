"""The `regrain` command. It knows the verbs by name and loads the file of the one that is asked for.

So `regrain --help` costs one import (click), and no verb pays for another's libraries. Every failure ends
here as one line on stderr: exit code 2 for what the user wrote, 1 for what went wrong.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NoReturn

import click

VERBS = {
    "new": "Make a directory with an app that works at once.",
    "run": "Serve an app.",
    "invoke": "Send a request to a running app and show its answer.",
    "graph": "Draw an app's stages and groups.",
    "status": "Show what a running app is doing.",
    "grain": "Show a running app's grain, or put another one in force.",
    "resident": "Choose which stages the replicas of a running app keep loaded.",
    "scale": "Give a group of a running app another number of replicas.",
    "update": "Serve an app's code as it is on disk now.",
    "rollback": "Serve the version before this one again.",
    "gateway": "Serve functions of this machine as an OpenFaaS gateway does.",
    "deploy": "Put an app on a platform, and wait until it serves.",
    "remove": "Take a function off a platform.",
    "controller": "Assign the groups of an app to its running pods.",
    "monitoring": "Write what watches a deployed app, for Prometheus and Grafana.",
    "profile": "Measure what an app's stages cost, and show it.",
    "gpu": "Share the GPUs of a node among several apps, and see who has what of them.",
    "load": "Send a load to a running app at the times that it says, and report what came of it.",
    "simulate": "Replay a scenario on a virtual clock, and report as load does.",
    "slow": "Show the last requests that missed, stage by stage.",
    "doctor": "Show what this machine offers, and what follows from it.",
    "version": "Show the versions of Regrain and of what it stands on.",
}

PLAN = ("lightgbm", "numba", "ortools", "scipy")
"""Libraries of the extra `plan`, which some verbs need."""

HELP = ["-h", "--help"]

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class Verbs(click.Group):
    """The verbs, each imported when it is called, with failures told in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the verbs in the order in which a newcomer meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb's file and return its command; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        try:
            module = importlib.import_module(f"regrain_watchdog.cli.{cmd_name}")
        except ModuleNotFoundError as error:
            if error.name not in PLAN:
                raise
            raise click.ClickException(
                f"{cmd_name} needs {error.name}: pip install 'regrain[plan]'"
            ) from error
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb of a command line; one that is none is told with what it looks like."""
        is_typed_out = not ctx.resilient_parsing  # else a shell asks for what could follow
        if is_typed_out and args[0] not in VERBS and (near := get_close_matches(args[0], VERBS, 1)):
            raise click.UsageError(f"No such command {args[0]!r}. (Did you mean {near[0]!r}?)")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    name="regrain",
    invoke_without_command=True,
    context_settings={"max_content_width": 100, "help_option_names": HELP},
)
@click.version_option(package_name="regrain", message="%(prog)s %(version)s")
@click.pass_context
def verbs(ctx: click.Context) -> None:
    """Serve ML pipelines as functions whose granularity changes while they serve.

    \b
    Examples:
      regrain new hello && cd hello
      regrain run app.py                    serve it on port 8080
      regrain invoke --sample               send its sample to it
      regrain graph app.py --grain fine     draw it, one function per stage
    """  # noqa: D301 - \b is click's mark for text that keeps its lines
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command line (sys.argv by default) and exit with its code."""
    sys.exit(_run(args))


def _run(args: Sequence[str] | None) -> int:
    try:
        code = verbs.main(args, "regrain", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _fail(error.format_message(), error.exit_code)
    except click.Abort:
        return INTERRUPTED
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), FAILED)
    except Exception as error:
        code = _code(error)
        if not code:
            raise
        return _fail(str(error), code)
    return code if isinstance(code, int) else 0


def _code(error: Exception) -> int:
    """The exit code of a failure that Regrain raised on purpose; 0 for a bug, which keeps its traceback."""
    from regrain.errors import RegrainError, SpecError  # noqa: PLC0415 - a verb that failed has paid for it

    if isinstance(error, SpecError):
        return BAD_INPUT
    return FAILED if isinstance(error, RegrainError) else 0


def _fail(message: str, code: int) -> int:
    click.echo(f"regrain: {' '.join(message.split())}", err=True)
    return code
