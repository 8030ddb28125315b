"""The control plane's process: `python -m regrain_watchdog.gateway.control SETTINGS`, run by the keeper."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication

from regrain.lines import formatter
from regrain_watchdog.gateway.control.app import make
from regrain_watchdog.gateway.settings import Settings

THREADS = 24
"""Requests at once; those that follow logs are fewer."""


class Served(BaseApplication):
    """The application under gunicorn: one worker of threads, so that who waits keeps nobody else waiting."""

    def __init__(self, settings: Settings, bind: str) -> None:
        self._settings = settings
        self._bind = bind
        super().__init__()

    def load_config(self) -> None:
        """Tell gunicorn how to serve."""
        wanted = {
            "bind": self._bind,
            "umask": 0o077,
            "worker_class": "gthread",
            "threads": THREADS,
            "graceful_timeout": 5,
            "keepalive": 0,  # the front has a connection for each request, and none should be waited for at the end
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in wanted.items():
            if name in self.cfg.settings:  # versions differ
                self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        """Make the application, in the worker."""
        return make(self._settings, told_to_end())


def told_to_end() -> threading.Event:
    """Return what is set once this process gets SIGTERM, before what is done about that already."""
    ending = threading.Event()
    before = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, end)
    return ending


def main() -> None:
    """Serve until SIGTERM, on the settings' socket or on the address that follows them."""
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("text"))
    logging.basicConfig(level="INFO", handlers=[handler])
    settings = Settings.decode(sys.argv[1])
    Served(settings, sys.argv[2] if len(sys.argv) > 2 else f"unix:{settings.control_socket}").run()


if __name__ == "__main__":
    main()
