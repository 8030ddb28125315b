"""Secrets as files, which functions read. The store says what they are; the files follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from regrain_watchdog.gateway import private
from regrain_watchdog.gateway.spec import Secret


class SecretFiles:
    """The folder FOLDER/NAMESPACE/NAME of secrets, each readable by its owner alone.

    Args:
        folder: made as needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, secret: Secret) -> None:
        """Write a secret, new or anew; a reader sees what it was or what it is."""
        private.write(self._folder / secret.namespace / secret.name, secret.content())

    def drafted(self, secret: Secret) -> AbstractContextManager[Callable[[], object]]:
        """Write a secret, and give what puts it in place; it is gone if that is not called within the block."""
        return private.drafted(self._folder / secret.namespace / secret.name, secret.content())

    def remove(self, name: str, namespace: str) -> None:
        """Remove a secret."""
        (self._folder / namespace / name).unlink(missing_ok=True)

    def follow(self, secrets: Sequence[Secret]) -> None:
        """Make the files be these secrets, whatever a process that was killed has left undone."""
        wanted = {self._folder / secret.namespace / secret.name: secret for secret in secrets}
        for path in self._folder.glob("*/*"):
            if path not in wanted:
                path.unlink()
        for path, secret in wanted.items():
            if not path.exists() or path.read_bytes() != secret.content():
                self.write(secret)
