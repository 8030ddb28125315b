"""Gunicorn's configuration for `regrain run wsgi:...`: tell the front when the application is loaded.

Gunicorn listens before its workers import the application, so a connection that is accepted says nothing yet.
This module is loaded by gunicorn, in its own processes.
"""

from __future__ import annotations

import contextlib
import os

control_socket_disable = True
"""Gunicorn's control socket would be one file per user, shared by all servers."""


def post_worker_init(worker: object) -> None:  # noqa: ARG001 - gunicorn calls it with the worker
    """Tell the front that a worker has loaded the application."""
    descriptor = os.environ.get("REGRAIN_READY_FD", "")
    if not descriptor:
        return
    with contextlib.suppress(OSError):  # the front has ended
        os.write(int(descriptor), b"+")
