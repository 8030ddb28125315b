"""Secrets: kept, listed by name and removed. What they hold is never answered."""

from __future__ import annotations

from flask import Blueprint, Response

from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.secret_files import SecretFiles
from regrain_watchdog.gateway.spec import Secret
from regrain_watchdog.gateway.store import Store


class Secrets:
    """The routes of secrets.

    Args:
        store: what they are.
        files: what functions read of them; these follow the store from here on.
    """

    def __init__(self, store: Store, files: SecretFiles) -> None:
        self._store = store
        self._files = files
        files.follow(store.secrets())

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        made = Blueprint("secrets", __name__)
        made.get("/system/secrets")(self.listed)
        made.post("/system/secrets")(self.created)
        made.put("/system/secrets")(self.replaced)
        made.delete("/system/secrets")(self.removed)
        return made

    def listed(self) -> Response:
        """Answer with the names of a namespace's secrets."""
        found = self._store.secrets(answers.namespace())
        return answers.json([Secret(name=one.name, namespace=one.namespace) for one in found])

    def created(self) -> Response:
        """Keep a new secret."""
        secret = answers.sent(Secret).validated()
        if not self._store.add_secret(secret):
            return answers.text(f"Secret {secret.name} exists in namespace {secret.namespace}", 409)
        self._files.write(secret)
        return answers.accepted()

    def replaced(self) -> Response:
        """Keep another content of a secret."""
        secret = answers.sent(Secret).validated()
        if not self._store.replace_secret(secret):
            return _none(secret)
        self._files.write(secret)
        return answers.accepted()

    def removed(self) -> Response:
        """Remove a secret that no function names."""
        secret = answers.sent(Secret).validated()
        if not self._store.remove_secret(secret.name, secret.namespace):
            return _none(secret)
        self._files.remove(secret.name, secret.namespace)
        return answers.accepted()


def _none(secret: Secret) -> Response:
    return answers.text(f"No such secret: {secret.name} in namespace {secret.namespace}", 404)
