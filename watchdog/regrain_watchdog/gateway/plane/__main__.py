"""The front's process: `python -m regrain_watchdog.gateway.plane SETTINGS DESCRIPTOR`, run by the keeper."""

from __future__ import annotations

import logging
import resource
import socket
import sys

import uvloop

from regrain.lines import formatter
from regrain_watchdog.gateway.plane.server import Plane
from regrain_watchdog.gateway.settings import Settings


def main() -> int:
    """Serve until SIGTERM, on a socket that listens already."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("text"))
    logging.basicConfig(level="INFO", handlers=[handler])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a function that runs takes some fifteen
    bound = socket.socket(fileno=int(sys.argv[2]))
    bound.set_inheritable(False)  # a function's command would keep the port open, and could answer there
    bound.setblocking(False)
    return uvloop.run(_serve(Settings.decode(sys.argv[1]), bound))


async def _serve(settings: Settings, bound: socket.socket) -> int:
    return await Plane(settings, bound).serve()


if __name__ == "__main__":
    sys.exit(main())
