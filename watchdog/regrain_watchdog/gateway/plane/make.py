"""Which kind of instance a function needs."""

from __future__ import annotations

from regrain_watchdog.gateway.plane.instance import Instance
from regrain_watchdog.gateway.plane.kinds.app import AppInstance
from regrain_watchdog.gateway.plane.kinds.fork import ForkInstance
from regrain_watchdog.gateway.plane.kinds.redirect import RedirectInstance
from regrain_watchdog.gateway.plane.launch import Launcher
from regrain_watchdog.gateway.plane.output import Output
from regrain_watchdog.gateway.spec import Function


class Maker:
    """Makes instances of functions, started under what a launcher says."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __call__(self, function: Function, output: Output) -> Instance:
        """Return an instance, not started yet."""
        match function.image.kind:
            case "app":
                return AppInstance(function, self._launcher, output)
            case "redirect":
                return RedirectInstance(function)
            case _:
                return ForkInstance(function, self._launcher, output)
