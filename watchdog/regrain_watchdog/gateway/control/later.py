"""Calls that are run later: listed, cancelled, and sent again."""

from __future__ import annotations

import time
from typing import get_args

from flask import Blueprint, Response, request

from regrain.errors import SpecError
from regrain.units import read_whole
from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.control.front import Front
from regrain_watchdog.gateway.later.course import State
from regrain_watchdog.gateway.later.table import LISTED, Table


class Later:
    """The routes of calls that are run later.

    Args:
        table: of the calls.
        front: runs them.
    """

    def __init__(self, table: Table, front: Front) -> None:
        self._table = table
        self._front = front

    def blueprint(self) -> Blueprint:
        """Return the routes. An id is its caller's, and may hold slashes."""
        made = Blueprint("later", __name__)
        made.get("/system/async")(self.listed)
        made.get("/system/async/<path:call_id>")(self.described)
        made.delete("/system/async/<path:call_id>")(self.cancelled)
        made.post("/system/async/<path:call_id>/retry")(self.resent)
        return made

    def listed(self) -> Response:
        """Answer with calls, the newest first, of the namespace, function and state that the query names."""
        state = request.args.get("state", "")
        if state and state not in get_args(State):
            raise SpecError(f"state: one of {', '.join(get_args(State))}, was {state!r}")
        return answers.json(
            self._table.records(
                time.time(),
                namespace=request.args.get("namespace", ""),
                function=request.args.get("function", ""),
                state=state,
                limit=_limit(request.args.get("limit", str(LISTED))),
            )
        )

    def described(self, call_id: str) -> Response:
        """Answer with the calls of an id."""
        found = self._table.records(time.time(), call_id=call_id)
        return answers.json(found) if found else _none(f"No such call: {call_id}")

    def cancelled(self, call_id: str) -> Response:
        """Cancel the calls of an id that have not ended."""
        with self._table.database.writing() as db:
            found = self._table.cancel(db, call_id, time.time())
        return self._changed(found, f"No call {call_id} that has not ended")

    def resent(self, call_id: str) -> Response:
        """Have the dead calls of an id tried from the beginning."""
        with self._table.database.writing() as db:
            found = self._table.resend(db, call_id, time.time())
        return self._changed(found, f"No dead call {call_id}")

    def _changed(self, found: int, otherwise: str) -> Response:
        if not found:
            return _none(otherwise)
        self._front.changed()
        return answers.accepted()


def _limit(text: str) -> int:
    found = read_whole(text, range(1, LISTED + 1))
    if found is None:
        raise SpecError(f"limit: a whole number from 1 to {LISTED}, was {text!r}")
    return found


def _none(sentence: str) -> Response:
    return answers.text(sentence, 404)
