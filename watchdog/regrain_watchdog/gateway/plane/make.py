"""Which kind of instance a function needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regrain_watchdog.front.credentials import Key
from regrain_watchdog.front.upstream.target import WSGI
from regrain_watchdog.gateway.plane.instance import Instance
from regrain_watchdog.gateway.plane.kinds.app import AppInstance
from regrain_watchdog.gateway.plane.kinds.fork import ForkInstance
from regrain_watchdog.gateway.plane.kinds.redirect import RedirectInstance
from regrain_watchdog.gateway.plane.kinds.upstream import UpstreamInstance
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Deployment, Function

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.export import Export

SERVER = ("upstream_url", "http_upstream_url", "mode")
"""Variables of of-watchdog that say that a function's command is a server."""


class Maker:
    """Makes instances of functions.

    Args:
        launcher: knows how their processes are started.
        key: what their pages ask for; None where being on this machine is enough.
        export: what takes the spans of apps' and servers' requests; None where they are not recorded.
    """

    def __init__(self, launcher: Launcher, key: Key | None, export: Export | None = None) -> None:
        self._launcher = launcher
        self._export = export
        self._key = key

    def __call__(self, function: Function, output: Output) -> Instance:
        """Return an instance, not started yet."""
        match function.image.kind:
            case "app":
                return AppInstance(function, self._launcher, output, self._key, self._export)
            case "redirect":
                return RedirectInstance(function)
            case _ if listens(function.deployment):
                return UpstreamInstance(function, self._launcher, output, self._export)
            case _:
                return ForkInstance(function, self._launcher, output)


def listens(deployment: Deployment) -> bool:
    """Whether a function's command is a server of its own, and not started for each request."""
    wsgi = deployment.env_process.startswith(WSGI)
    return wsgi or any(deployment.env_vars.get(name) for name in SERVER)
