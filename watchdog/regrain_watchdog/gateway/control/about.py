"""What the gateway is: /system/info, and the page under /ui/."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib import metadata, resources
from pathlib import Path

from flask import Blueprint, Response, abort, redirect
from werkzeug.wrappers import Response as Answer

import regrain_watchdog
from regrain_watchdog.front.page import SAFE
from regrain_watchdog.gateway.control import answers
from regrain_watchdog.gateway.control.front import Front
from regrain_watchdog.gateway.control.functions import statuses
from regrain_watchdog.gateway.store import Store

OWN = resources.files("regrain_watchdog.gateway.control") / "ui"
SHARED = resources.files("regrain_watchdog.front.page")
"""The live page of an app, whose style and parts this page has too."""
FILES = {
    "": (OWN / "index.html", "text/html"),
    "ui.js": (OWN / "ui.js", "text/javascript"),
    "page.css": (SHARED / "page.css", "text/css"),
    "parts.js": (SHARED / "parts.js", "text/javascript"),
    "icon.svg": (SHARED / "icon.svg", "image/svg+xml"),
}


class About:
    """The routes of what the gateway is.

    Args:
        store: which functions there are.
        front: how they do.
    """

    def __init__(self, store: Store, front: Front) -> None:
        self._store = store
        self._front = front
        self._info = info()

    def blueprint(self) -> Blueprint:
        """Return the routes."""
        made = Blueprint("about", __name__)
        made.get("/system/info")(self.info)
        made.get("/ui")(self.page)
        made.get("/ui/functions")(self.functions)
        made.get("/ui/", defaults={"name": ""})(self.file)
        made.get("/ui/<name>")(self.file)
        return made

    def info(self) -> Response:
        """Answer with versions."""
        return answers.json(self._info)

    def page(self) -> Answer:
        """Lead to the page."""
        return redirect("/ui/")

    def functions(self) -> Response:
        """Answer with the functions of all namespaces."""
        return answers.json(statuses(self._store.functions(), self._front.standings(), usage=True))

    def file(self, name: str) -> Response:
        """Answer with a file of the page."""
        if name not in FILES:
            abort(404)
        file, kind = FILES[name]
        return Response(file.read_bytes(), mimetype=kind, headers=SAFE)


def info() -> Mapping[str, object]:
    """Return what /system/info tells; `sha` is of the code that runs."""
    version = {"release": metadata.version("regrain"), "sha": digest(Path(regrain_watchdog.__file__).parent)}
    return {
        "provider": {"provider": "regrain", "orchestration": "processes", "version": version},
        "version": version | {"commit_message": ""},
        "arch": platform.machine(),
    }


def digest(folder: Path) -> str:
    """Return a digest of a folder's Python files, which tells two versions apart that have one number."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        total.update(str(path.relative_to(folder)).encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:40]
