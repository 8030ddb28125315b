"""The logs of functions, as lines of JSON."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from flask import Blueprint, Response, request

from regrain.errors import SpecError
from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.journal import EVER, Choice, lines
from regrain_watchdog.gateway.store import Store

FOLLOW = 45.0
"""Seconds after which following a log ends; clients do not come again by themselves."""
FOLLOWERS = 16
"""Requests that may follow a log at once: each holds a thread."""
MOST = 1_000_000_000
"""Lines that may be asked for: more than a log ever has."""


class Logs:
    """The route of logs.

    Args:
        store: which functions there are.
        path: the file of a function's log, by namespace and name.
        ending: is set once the control plane ends, and following with it.
    """

    def __init__(self, store: Store, path: Callable[[str, str], Path], ending: threading.Event) -> None:
        self._store = store
        self._path = path
        self._ending = ending
        self._seats = threading.BoundedSemaphore(FOLLOWERS)

    def blueprint(self) -> Blueprint:
        """Return the route."""
        made = Blueprint("logs", __name__)
        made.get("/system/logs")(self.read)
        return made

    def read(self) -> Response:
        """Answer with the lines that are wanted, and for a while with those that come."""
        name, namespace = request.args.get("name", ""), answers.namespace()
        if self._store.function(name, namespace) is None:
            return answers.text(f"No such function: {name}", 404)
        path, choice = self._path(namespace, name), _choice()
        if request.args.get("follow") not in ("true", "1"):
            return _stream(lines(path, choice))
        if not self._seats.acquire(blocking=False):
            return answers.text(f"{FOLLOWERS} others follow logs; ask without follow, or later", 429)
        response = _stream(lines(path, choice, follow=FOLLOW, ending=self._ending))
        response.call_on_close(self._seats.release)
        return response


def _choice() -> Choice:
    tail = request.args.get("tail", "-1")
    try:
        number = int(tail)
    except ValueError as error:
        raise SpecError(f"tail: a whole number, -1 for all, was {tail!r}") from error
    if number > MOST:
        raise SpecError(f"tail: up to {MOST} lines, -1 for all, was {tail[:40]}")
    return Choice(
        since=_time(request.args.get("since", "")),
        instance=request.args.get("instance", ""),
        tail=max(0, number),
    )


def _time(text: str) -> datetime:
    if not text:
        return EVER
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise SpecError(f"since: a time such as 2026-01-31T12:00:00Z, was {text!r}") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _stream(found: Iterator[bytes]) -> Response:
    """Answer with lines as they come; what is empty sends the headers on their way at once."""
    return Response(chain([b""], found), mimetype="application/x-ndjson")
