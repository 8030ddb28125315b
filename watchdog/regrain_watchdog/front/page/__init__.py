"""The live page: what an app does, to look at in a browser.

Everything that it shows comes from this process; it loads nothing from elsewhere, and its Content-Security-
Policy holds it to that.
"""

from __future__ import annotations

from importlib import resources

from regrain.grain import make_plan
from regrain.manifest import Manifest
from regrain_watchdog.picture.svg import svg

Content = tuple[list[tuple[str, str]], bytes]
"""Headers and body."""

SAFE = [
    (
        "content-security-policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cache-control", "no-cache"),
]
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/parts.js": ("parts.js", "text/javascript; charset=utf-8"),
    "/adapt.js": ("adapt.js", "text/javascript; charset=utf-8"),
    "/gpus.js": ("gpus.js", "text/javascript; charset=utf-8"),
    "/charts.js": ("charts.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PICTURE = "/picture.svg"


class Page:
    """Finds what a browser asks for; the files are read once."""

    def __init__(self) -> None:
        folder = resources.files(__name__)
        self._files = {
            path: (_headers(kind), (folder / name).read_bytes()) for path, (name, kind) in FILES.items()
        }
        self._drawn: tuple[Manifest, str] | None = None
        self._picture = b""

    def find(self, path: str) -> Content | None:
        """Return a file of the page; None where there is none."""
        return self._files.get(path)

    def picture(self, manifest: Manifest, grain: str) -> Content:
        """Return the drawing of an app cut by a grain; its groups have the names that the status tells."""
        if self._drawn != (manifest, grain):
            self._picture = svg(manifest, make_plan(manifest, grain), heading=False).encode()
            self._drawn = (manifest, grain)
        return _headers("image/svg+xml"), self._picture


def _headers(kind: str) -> list[tuple[str, str]]:
    return [("content-type", kind), *SAFE]
