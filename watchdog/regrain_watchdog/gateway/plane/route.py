"""Which function a request is for, and what of its path is the function's."""

from __future__ import annotations

from regrain_watchdog.front.handler import Scope
from regrain_watchdog.gateway.spec import DEFAULT_NAMESPACE

FUNCTION = "/function/"
ASYNC = "/async-function/"
Key = tuple[str, str]
"""A function's namespace and name."""


def named(text: str) -> Key:
    """Return which function NAME or NAME.NAMESPACE is; a name itself has no dot."""
    name, dot, namespace = text.rpartition(".")
    return (namespace, name) if dot else (DEFAULT_NAMESPACE, text)


def split(path: str, prefix: str) -> tuple[Key, str]:
    """Return the function of a path that begins with a prefix, and the path as the function sees it."""
    text, _, rest = path.removeprefix(prefix).partition("/")
    return named(text), f"/{rest}"


class Below:
    """A request as its function sees it: its path begins below the function's name."""

    __slots__ = ("headers", "method", "path", "query_string")

    def __init__(self, scope: Scope, path: str, headers: dict[str, str]) -> None:
        self.method = scope.method
        self.path = path
        self.query_string = scope.query_string
        self.headers = headers
