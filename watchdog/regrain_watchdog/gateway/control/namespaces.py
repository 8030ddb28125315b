"""Namespaces: made, listed, described, changed and removed."""

from __future__ import annotations

from flask import Blueprint, Response
from msgspec.structs import replace

from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.spec import Namespace
from regrain_watchdog.gateway.store import Store


class Namespaces:
    """The routes of namespaces.

    Args:
        store: which there are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        made = Blueprint("namespaces", __name__)
        made.get("/system/namespaces")(self.listed)
        made.post("/system/namespace/")(self.created)
        made.get("/system/namespace/<name>")(self.described)
        made.put("/system/namespace/<name>")(self.replaced)
        made.delete("/system/namespace/<name>")(self.removed)
        return made

    def listed(self) -> Response:
        """Answer with their names."""
        return answers.json([namespace.name for namespace in self._store.namespaces()])

    def created(self) -> Response:
        """Keep a new namespace."""
        namespace = answers.sent(Namespace).validated()
        if not self._store.add_namespace(namespace):
            return answers.text(f"Namespace {namespace.name} exists", 409)
        return Response(status=201)

    def described(self, name: str) -> Response:
        """Answer with one namespace."""
        namespace = self._store.namespace(name)
        return _none(name) if namespace is None else answers.json(namespace)

    def replaced(self, name: str) -> Response:
        """Keep other labels and annotations."""
        namespace = replace(answers.sent(Namespace), name=name)
        return answers.accepted() if self._store.replace_namespace(namespace) else _none(name)

    def removed(self, name: str) -> Response:
        """Remove a namespace that is empty."""
        return answers.accepted() if self._store.remove_namespace(name) else _none(name)


def _none(name: str) -> Response:
    return answers.text(f"No such namespace: {name}", 404)
