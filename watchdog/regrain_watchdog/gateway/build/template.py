"""Which handler a build's context holds, by the template that it was made with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from regrain_watchdog.gateway.build.errors import BuildError

FIELD = re.compile(r"^(language|fprocess|handler_folder):\s*(.*?)\s*$", re.MULTILINE)
PLAIN_PYTHON = re.compile(r"(\S*/)?python3? index\.py")
"""What the templates of OpenFaaS start that call handle(event, context)."""
OURS = "regrain"
WSGI = re.compile(r"wsgi:([\w.]+:[\w.]+)")
"""What a template starts whose handler is a WSGI application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """What a context holds.

    template: its name. folder: of the handler. application: MODULE:CALLABLE of a WSGI application, "" for an app.
    """

    template: str
    folder: Path
    application: str = ""


def handler(context: Path) -> Handler:
    """Return the handler; BuildError if no process here can serve it."""
    path = context / "template.yml"
    text = path.read_text(errors="replace") if path.is_file() else ""
    fields = {name: value.strip("\"'") for name, value in FIELD.findall(text)}
    language, starts = fields.get("language", ""), fields.get("fprocess", "")
    folder = context / fields.get("handler_folder", "function")
    if not folder.resolve().is_relative_to(context.resolve()) or not folder.is_dir():
        raise BuildError(f"the context has no folder {folder.name!r} with a handler")
    if found := WSGI.fullmatch(starts):
        return Handler(template=language or "WSGI", folder=folder, application=found[1])
    if language != OURS and not PLAIN_PYTHON.fullmatch(starts):
        raise BuildError(
            f"the template {language or 'of the context'} starts {starts or 'what only its Dockerfile says'!r} in a "
            "container, and there is none here: use --lang regrain, a template of handle(event, context) in Python, or "
            "one whose fprocess is wsgi:MODULE:CALLABLE"
        )
    return Handler(template=language or "python", folder=folder)
