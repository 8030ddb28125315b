"""The state that is wanted: functions, secrets, namespaces and images, in a file that outlives every process.

The control plane writes it and the front carries it out, each with a Store of its own over the same file.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from regrain.errors import SpecError
from regrain_watchdog.gateway.database import Database
from regrain_watchdog.gateway.spec import (
    DEFAULT_NAMESPACE,
    Deployment,
    Function,
    Image,
    Namespace,
    Secret,
    image_name,
)
from regrain_watchdog.policy.scale import Scaling

SCHEMA = """
CREATE TABLE IF NOT EXISTS namespaces (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS functions (
    namespace TEXT NOT NULL REFERENCES namespaces, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS secrets (
    namespace TEXT NOT NULL REFERENCES namespaces, name TEXT NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (namespace, name)
) STRICT;
CREATE TABLE IF NOT EXISTS images (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""
_encode = msgspec.json.Encoder().encode
_function = msgspec.json.Decoder(Function).decode
_image = msgspec.json.Decoder(Image).decode
_namespace = msgspec.json.Decoder(Namespace).decode


class InUseError(SpecError):
    """What should go is needed."""


class Store:
    """The state that is wanted; StoreError where it cannot be read or written.

    Args:
        path: its file, made where there is none.
        clock: seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, SCHEMA)
        self._clock = clock
        with self._database.writing() as db:
            default = Namespace(name=DEFAULT_NAMESPACE)
            db.execute("INSERT OR IGNORE INTO namespaces VALUES (?, ?)", (default.name, _encode(default)))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def functions(self, namespace: str = "") -> list[Function]:
        """Return the functions of a namespace, or all, by namespace and name."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT body FROM functions WHERE ?1 IN (namespace, '') ORDER BY namespace, name",
                (namespace,),
            ).fetchall()
        return [_function(body) for (body,) in rows]

    def function(self, name: str, namespace: str) -> Function | None:
        """Return a function; None if there is none."""
        with self._database.reading() as db:
            return _read(db, name, namespace)

    def put(self, deployment: Deployment, image: Image) -> Function:
        """Keep a function, new or in place of the one of its name, and return it.

        The deployment is validated. SpecError where its namespace, or a secret that it names, does not exist.
        """
        name, namespace = deployment.service, deployment.namespace
        scaling = Scaling.of(deployment.labels)
        with self._database.writing() as db:
            _require(db, deployment)
            before = _read(db, name, namespace)
            function = Function(
                deployment=deployment,
                image=image,
                created=before.created if before else self._clock(),
                generation=before.generation + 1 if before else 1,
                replicas=scaling.within(before.replicas if before else 0),
            )
            db.execute(
                "INSERT OR REPLACE INTO functions VALUES (?, ?, ?)", (namespace, name, _encode(function))
            )
        return function

    def remove(self, name: str, namespace: str) -> bool:
        """Remove a function; whether there was one."""
        return self._changed("DELETE FROM functions WHERE namespace = ? AND name = ?", namespace, name)

    def scale(self, name: str, namespace: str, replicas: int) -> bool:
        """Want so many replicas of a function; whether there is one."""
        with self._database.writing() as db:
            function = _read(db, name, namespace)
            if function is not None:
                _scale(db, function, replicas)
        return function is not None

    def rescale(self, seen: Function, replicas: int) -> bool:
        """Want so many replicas of a function that is still wanted as it was seen; whether it is."""
        with self._database.writing() as db:
            same = _read(db, seen.deployment.service, seen.deployment.namespace) == seen
            if same:
                _scale(db, seen, replicas)
        return same

    def secrets(self, namespace: str = "") -> list[Secret]:
        """Return the secrets of a namespace, or all, with what they hold, by namespace and name."""
        with self._database.reading() as db:
            rows = db.execute(
                "SELECT namespace, name, content FROM secrets WHERE ?1 IN (namespace, '') ORDER BY namespace, name",
                (namespace,),
            ).fetchall()
        return [Secret(namespace=found, name=name, raw_value=content) for found, name, content in rows]

    def add_secret(self, secret: Secret) -> bool:
        """Keep a new secret; whether it is new. SpecError where its namespace does not exist."""
        try:
            return self._changed(
                "INSERT INTO secrets VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                secret.namespace,
                secret.name,
                secret.content(),
            )
        except sqlite3.IntegrityError as error:
            raise _no_namespace(secret.namespace) from error

    def replace_secret(self, secret: Secret) -> bool:
        """Keep another content of a secret; whether there is one."""
        return self._changed(
            "UPDATE secrets SET content = ? WHERE namespace = ? AND name = ?",
            secret.content(),
            secret.namespace,
            secret.name,
        )

    def remove_secret(self, name: str, namespace: str) -> bool:
        """Remove a secret; whether there was one. InUseError for one that a function names."""
        with self._database.writing() as db:
            bodies = db.execute("SELECT body FROM functions WHERE namespace = ?", (namespace,))
            deployments = [_function(body).deployment for (body,) in bodies]
            users = [deployment.service for deployment in deployments if name in deployment.secrets]
            if users:
                raise InUseError(
                    f"secret {name} is named by {', '.join(users)}: remove or deploy it without first"
                )
            statement = "DELETE FROM secrets WHERE namespace = ? AND name = ?"
            return db.execute(statement, (namespace, name)).rowcount > 0

    def namespaces(self) -> list[Namespace]:
        """Return the namespaces by name; the default one is always there."""
        with self._database.reading() as db:
            rows = db.execute("SELECT body FROM namespaces ORDER BY name").fetchall()
        return [_namespace(body) for (body,) in rows]

    def namespace(self, name: str) -> Namespace | None:
        """Return a namespace; None if there is none."""
        with self._database.reading() as db:
            row = db.execute("SELECT body FROM namespaces WHERE name = ?", (name,)).fetchone()
        return _namespace(row[0]) if row else None

    def add_namespace(self, namespace: Namespace) -> bool:
        """Keep a new namespace; whether it is new."""
        return self._changed(
            "INSERT INTO namespaces VALUES (?, ?) ON CONFLICT DO NOTHING", namespace.name, _encode(namespace)
        )

    def replace_namespace(self, namespace: Namespace) -> bool:
        """Keep other labels and annotations of a namespace; whether there is one."""
        return self._changed(
            "UPDATE namespaces SET body = ? WHERE name = ?", _encode(namespace), namespace.name
        )

    def remove_namespace(self, name: str) -> bool:
        """Remove a namespace; whether there was one. InUseError for the default one, and for one in use."""
        if name == DEFAULT_NAMESPACE:
            raise InUseError(f"namespace {name} is the default one and stays")
        try:
            return self._changed("DELETE FROM namespaces WHERE name = ?", name)
        except sqlite3.IntegrityError as error:
            raise InUseError(f"namespace {name} still has functions or secrets: remove them first") from error

    def put_image(self, image: Image) -> None:
        """Keep an image, new or in place of the one of its name. Functions keep the one they were deployed with."""
        name = image_name(image.name)
        self._changed("INSERT OR REPLACE INTO images VALUES (?, ?)", name, _encode(replace(image, name=name)))

    def image(self, name: str) -> Image | None:
        """Return an image, by a name with or without docker.io/ and :latest; None if there is none."""
        with self._database.reading() as db:
            row = db.execute("SELECT body FROM images WHERE name = ?", (image_name(name),)).fetchone()
        return _image(row[0]) if row else None

    def images(self) -> list[Image]:
        """Return the images by name."""
        with self._database.reading() as db:
            rows = db.execute("SELECT body FROM images ORDER BY name").fetchall()
        return [_image(body) for (body,) in rows]

    def _changed(self, statement: str, *values: object) -> bool:
        """Carry out one statement that writes; whether it changed a row."""
        with self._database.writing() as db:
            return db.execute(statement, values).rowcount > 0


def _read(db: sqlite3.Connection, name: str, namespace: str) -> Function | None:
    row = db.execute(
        "SELECT body FROM functions WHERE namespace = ? AND name = ?", (namespace, name)
    ).fetchone()
    return _function(row[0]) if row else None


def _scale(db: sqlite3.Connection, function: Function, replicas: int) -> None:
    if function.replicas != replicas:
        wanted = function.deployment
        body = _encode(replace(function, replicas=replicas))
        db.execute(
            "UPDATE functions SET body = ? WHERE namespace = ? AND name = ?",
            (body, wanted.namespace, wanted.service),
        )


def _require(db: sqlite3.Connection, deployment: Deployment) -> None:
    """SpecError where what a function refers to does not exist."""
    namespace = deployment.namespace
    if not db.execute("SELECT 1 FROM namespaces WHERE name = ?", (namespace,)).fetchone():
        raise _no_namespace(namespace)
    known = {name for (name,) in db.execute("SELECT name FROM secrets WHERE namespace = ?", (namespace,))}
    missing = [name for name in deployment.secrets if name not in known]
    if missing:
        raise SpecError(f"secrets: there is no {', '.join(missing)} in namespace {namespace}")


def _no_namespace(name: str) -> SpecError:
    return SpecError(f"namespace: there is no {name!r}; create it first")
