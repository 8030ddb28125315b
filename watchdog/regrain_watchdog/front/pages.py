"""What the app's port serves besides calls: what the app is, its health and readiness, OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import msgspec

from regrain.errors import RequestError
from regrain.manifest import Manifest
from regrain_watchdog.front import openapi
from regrain_watchdog.front.answer import JSON, Response

OWN = "/_/"
"""Where our own paths are; everything else is the app's."""
DRAINING = "the app is stopping"
_TEXT = "text/plain; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class Pages:
    """Answers the requests of one app that are no calls.

    Args:
        manifest: the app.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._paths = dict.fromkeys(("/", manifest.path))
        self._found = ", ".join(self._paths)
        self._index = _encode(_about(manifest))
        self._openapi = _encode(openapi.document(manifest))

    def answer(self, method: str, path: str, draining: bool, unready: Callable[[], str]) -> Response:
        """Return a page; RequestError 404 or 405 where there is none."""
        page = self._find(path, draining, unready)
        if page is None:
            raise RequestError(
                HTTPStatus.NOT_FOUND,
                f"there is nothing at {path}; there are {self._found}, /_/health, /_/ready and /_/openapi.json",
            )
        if method in ("GET", "HEAD"):
            return page
        allowed = "GET, HEAD, POST" if path in self._paths else "GET, HEAD"
        raise RequestError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            f"{path} does not take {method}, allowed are {allowed}",
            headers={"allow": allowed},
        )

    def _find(self, path: str, draining: bool, unready: Callable[[], str]) -> Response | None:
        if path in self._paths:
            return 200, [("content-type", JSON)], self._index
        if path == "/_/health":
            return _told(DRAINING if draining else "")
        if path == "/_/ready":
            return _told(DRAINING if draining else unready())
        if path == "/_/openapi.json":
            return 200, [("content-type", JSON)], self._openapi
        return None


def _told(trouble: str) -> Response:
    return 503 if trouble else 200, [("content-type", _TEXT)], (trouble or "OK").encode()


def _about(manifest: Manifest) -> dict[str, object]:
    """What GET / tells of an app: its name and how to call it."""
    parameters = {parameter.name: parameter.kind for parameter in manifest.parameters}
    return {
        "app": manifest.app,
        "about": manifest.doc,
        "call": f"POST {manifest.path}",
        "parameters": parameters,
        "answer": manifest.answer.kind,
        "openapi": "/_/openapi.json",
        "ready": "/_/ready",
    }
