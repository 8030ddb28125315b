"""How the processes of functions are started: confined, with what they are to know of the machine and of themselves."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from regrain_watchdog.front.zygote import SINGLE_THREADED
from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.plane.homes import Homes
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.sandbox import Cell, Limits, Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Function

ENTER = 'cd "$0" && exec "$@"'
"""Starts what follows in a folder, which is known only inside of the sandbox."""
HELD = "_REGRAIN_HELD_"
"""How the variables are called that hold the values of a function's own until it is confined."""
NAMED = re.compile(r"(?!_REGRAIN_HELD_)[A-Za-z_][A-Za-z0-9_]*")
"""Names that a shell can give to a variable."""
SHELLS = frozenset({"BASHOPTS", "BASH_VERSINFO", "EUID", "OPTIND", "PPID", "SHELLOPTS", "UID"})
"""Names whose values are a shell's own matter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What comes before the commands of a function's version, and their variables.

    secrets: where they find them. ours: what is removed at the end, as nobody else's; None for nothing.
    """

    prefix: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: str
    ours: Path | None = None

    def literal(self, text: str) -> str:
        """Return a command with the path of the secrets as it is here."""
        return text.replace(sandbox.SECRETS, self.secrets)

    async def end(self) -> None:
        """Remove what was there for the version, none of whose processes runs any more."""
        if self.ours is not None:
            await asyncio.to_thread(shutil.rmtree, self.ours, ignore_errors=True)


class Launcher:
    """Knows what functions are started under.

    Args:
        settings: of the gateway.
        means: what the machine allows.
        homes: where functions have their own files.
    """

    def __init__(self, settings: Settings, means: Means, homes: Homes) -> None:
        self._settings = settings
        self._homes = homes
        self._versions = itertools.count(1)
        self._means = means
        self._users: dict[Key, int] = {}

    def launch(self, function: Function, *, alone: bool = False, shares_gpus: bool = False) -> Launch:
        """Return how to start the processes of one version of a function.

        alone: they end with the first of them. shares_gpus: they run as our user, as those who share a GPU must.
        """
        wanted, image = function.deployment, function.image
        means = replace(self._means, users=False) if shares_gpus else self._means
        confined = sandbox.confine(self._cell(function, alone=alone), means)
        own = {
            name: confined.literal(text)
            for name, text in wanted.env_vars.items()
            if _may_be_set(name) and name not in confined.variables
        }
        environment = {
            **dict.fromkeys(SINGLE_THREADED, "1"),
            **sandbox.inherited(os.environ),
            "PYTHONUNBUFFERED": "1",
            "OPENFAAS_NAME": wanted.service,
            "OPENFAAS_NAMESPACE": wanted.namespace,
            **confined.variables,
            **{f"{HELD}{number}": text for number, text in enumerate(own.values())},
        }
        begin = ("sh", "-c", _begin(own), image.folder or "/") if own or image.folder else ()
        return Launch(
            prefix=(*confined.prefix, *begin),
            environment=environment,
            secrets=confined.secrets,
            ours=None if means.mounts else Path(confined.secrets),
        )

    def _cell(self, function: Function, *, alone: bool) -> Cell:
        wanted, image = function.deployment, function.image
        key = (wanted.namespace, wanted.service)
        if key not in self._users:
            self._users[key] = sandbox.user(*key, self._users.values())
        secrets = self._settings.secrets / wanted.namespace
        return Cell(
            user=self._users[key],
            home=str(self._homes.of(key)),
            version=str(next(self._versions)),
            hidden=self._settings.state,
            reads=tuple(path for path in (image.folder, image.environment) if path),
            secrets={name: str(secrets / name) for name in wanted.secrets},
            limits=Limits(memory=wanted.limits.bytes() if wanted.limits is not None else 0),
            alone=alone,
        )


def _may_be_set(name: str) -> bool:
    """Whether a variable may be a function's; others would not reach it over a shell."""
    return NAMED.fullmatch(name) is not None and name not in SHELLS


def _begin(own: Iterable[str]) -> str:
    """Return a script that gives a function its variables by these names, and starts it.

    It is the first that sees them: what runs before it has the gateway's rights, and must not look for programs or
    libraries where a function says. Their values are in no command line, which other users could read.
    """
    lines = [f'export {name}="${HELD}{number}"; unset {HELD}{number}' for number, name in enumerate(own)]
    return "\n".join([*lines, ENTER])
