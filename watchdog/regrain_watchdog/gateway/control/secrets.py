"""Secrets: kept, listed by name and removed, in store and file or in neither. What they hold is never answered."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence

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
        self._changing = threading.Lock()
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
        with self._files.drafted(secret) as place, self._whole(secret):
            if not self._store.add_secret(secret):
                return answers.text(f"Secret {secret.name} exists in namespace {secret.namespace}", 409)
            place()
        return answers.accepted()

    def replaced(self) -> Response:
        """Keep another content of a secret."""
        secret = answers.sent(Secret).validated()
        with self._files.drafted(secret) as place, self._whole(secret):
            if not self._store.replace_secret(secret):
                return _none(secret)
            place()
        return answers.accepted()

    def removed(self) -> Response:
        """Remove a secret that no function names."""
        secret = answers.sent(Secret).validated()
        with self._whole(secret):
            if not self._store.remove_secret(secret.name, secret.namespace):
                return _none(secret)
            self._files.remove(secret.name, secret.namespace)
        return answers.accepted()

    @contextlib.contextmanager
    def _whole(self, secret: Secret) -> Iterator[None]:
        """Let nobody else change secrets during a block; where that cannot change the file, the store is as before."""
        with self._changing:
            before = [one for one in self._store.secrets(secret.namespace) if one.name == secret.name]
            try:
                yield
            except OSError:
                self._restore(secret, before)
                raise

    def _restore(self, secret: Secret, before: Sequence[Secret]) -> None:
        for one in before:
            if not self._store.replace_secret(one):
                self._store.add_secret(one)
        if not before:
            self._store.remove_secret(secret.name, secret.namespace)


def _none(secret: Secret) -> Response:
    return answers.text(f"No such secret: {secret.name} in namespace {secret.namespace}", 404)
