"""How the processes of functions are started: confined, with what they are to know of the machine and of themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from regrain_watchdog.front.zygote import SINGLE_THREADED
from regrain_watchdog.gateway import sandbox
from regrain_watchdog.gateway.plane.route import Key
from regrain_watchdog.gateway.sandbox import Cell, Limits, Means
from regrain_watchdog.gateway.settings import Settings
from regrain_watchdog.gateway.spec import Function

ENTER = ("sh", "-c", 'cd "$0" && exec "$@"')
"""Starts what follows in a folder, which is known only inside of the sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What comes before a function's commands, and their variables. `secrets` is where they find them."""

    prefix: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: str

    def literal(self, text: str) -> str:
        """Return a command with the path of the secrets as it is here."""
        return text.replace(sandbox.SECRETS, self.secrets)


class Launcher:
    """Knows what functions are started under.

    Args:
        settings: of the gateway.
        means: what the machine allows.
    """

    def __init__(self, settings: Settings, means: Means) -> None:
        self._settings = settings
        self._means = means
        self._users: dict[Key, int] = {}

    def launch(self, function: Function, *, alone: bool = False, shares_gpus: bool = False) -> Launch:
        """Return how to start a function's processes.

        alone: they end with the first of them. shares_gpus: they run as our user, as those who share a GPU must.
        """
        wanted, image = function.deployment, function.image
        means = replace(self._means, users=False) if shares_gpus else self._means
        confined = sandbox.confine(self._cell(function, alone=alone), means)
        own = {name: confined.literal(text) for name, text in wanted.env_vars.items()}
        environment = {
            **dict.fromkeys(SINGLE_THREADED, "1"),
            **sandbox.inherited(os.environ),
            "PYTHONUNBUFFERED": "1",
            "OPENFAAS_NAME": wanted.service,
            "OPENFAAS_NAMESPACE": wanted.namespace,
            **own,
            **confined.variables,
        }
        enter = (*ENTER, image.folder) if image.folder else ()
        return Launch(prefix=(*confined.prefix, *enter), environment=environment, secrets=confined.secrets)

    def _cell(self, function: Function, *, alone: bool) -> Cell:
        wanted, image = function.deployment, function.image
        key = (wanted.namespace, wanted.service)
        if key not in self._users:
            self._users[key] = sandbox.user(*key, self._users.values())
        secrets = self._settings.secrets / wanted.namespace
        return Cell(
            user=self._users[key],
            home=str(self._settings.folder / "homes" / wanted.namespace / wanted.service),
            hidden=self._settings.state,
            reads=tuple(path for path in (image.folder, image.environment) if path),
            secrets={name: str(secrets / name) for name in wanted.secrets},
            limits=Limits(memory=wanted.limits.bytes() if wanted.limits is not None else 0),
            alone=alone,
        )
