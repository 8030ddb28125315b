"""The environment of of-watchdog, so that an image made for it runs as it is.

Where no REGRAIN_ variable says otherwise its variables mean what they mean there, with two differences: a request
over `max_inflight` waits in line, and after SIGTERM the process is stopped last.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping

from regrain.errors import SpecError
from regrain_watchdog.front.settings import PREFIX
from regrain_watchdog.front.upstream.heads import go_duration

logger = logging.getLogger(__name__)

COMMANDS = ("fprocess", "function_process")
URLS = ("upstream_url", "http_upstream_url")
TEXTS = {"port": "port", "max_inflight": "max_inflight", "ready_path": "ready_path"}
DURATIONS = {
    "read_timeout": ("body_timeout",),
    "write_timeout": ("drain_timeout", "healthcheck_interval"),
    "exec_timeout": ("exec_timeout",),
    "healthcheck_interval": ("healthcheck_interval",),
}
"""Ours by theirs. As there, `write_timeout` is the wait before the drain too, unless `healthcheck_interval` is set."""
UNLIMITED = {"body_timeout": 86_400.0, "drain_timeout": 86_400.0}
"""Seconds that ours are where theirs is 0, no limit, which these may not be."""
EVERYWHERE = "0.0.0.0"  # noqa: S104 - of-watchdog listens on all addresses, as containers need
TRUE = ("true", "1")
MODE = "http"


def translated(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with of-watchdog's variables as ours, as far as it has any and ours are not set.

    Raises:
        SpecError: they ask for a mode other than http, or a duration is none.
    """
    found = dict(environ)
    command, url = _first(environ, COMMANDS), _first(environ, URLS)
    if not url and not (command and environ.get("mode", "")):
        return found
    mode = environ.get("mode", MODE if url else "")
    if mode != MODE:
        raise SpecError(
            f"mode: was {mode!r}, allowed is {MODE}: the upstream is a server, not started per request"
        )
    texts = {"fprocess": command, "upstream_url": url, "host": EVERYWHERE}
    texts |= {ours: environ.get(theirs, "") for theirs, ours in TEXTS.items()}
    for theirs, names in DURATIONS.items():
        if text := environ.get(theirs):
            seconds = _seconds(theirs, text)
            texts |= {name: f"{seconds or UNLIMITED.get(name, 0.0):.9f}" for name in names}
    if environ.get("suppress_lock", "").lower() not in TRUE:
        texts["lock_file"] = os.path.join(environ.get("TMPDIR", tempfile.gettempdir()), ".lock")
    for name, text in texts.items():
        if text and not found.get(PREFIX + name.upper()):
            found[PREFIX + name.upper()] = text
    return found


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _seconds(name: str, text: str) -> float:
    seconds = float(text) if text.isdecimal() else go_duration(text)
    if seconds is None:
        raise SpecError(f'{name}: was {text!r}, allowed are seconds and Go durations such as "1m30s"')
    return seconds
