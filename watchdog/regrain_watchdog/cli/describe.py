"""Read an app's manifest. A process of the app's own Python does it, so user code never runs in this one."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from regrain import manifest
from regrain.errors import LoadError
from regrain.manifest import Manifest
from regrain_watchdog.cli.progress import working

TIMEOUT = 120.0
"""Seconds that importing an app's module may take; torch on a cold disk needs a good part of them."""


def describe(module: str) -> Manifest:
    """Return the manifest of a module; LoadError tells in one line why there is none."""
    command = [sys.executable, "-m", "regrain_runtime", "describe", module]
    with working(f"reading {module}"):
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
        except subprocess.TimeoutExpired as error:
            raise LoadError(f"{module} took more than {TIMEOUT:.0f} s to import") from error
    if done.returncode:
        raise LoadError(_reason(done.stderr.decode(errors="replace"), done.returncode, module))
    try:
        return manifest.loads(done.stdout)
    except msgspec.MsgspecError as error:
        raise LoadError(f"{module} printed while it was imported, or is no app: {error}") from error


def _reason(stderr: str, code: int, module: str) -> str:
    """The last line that describe wrote, which is the one it ends with by contract."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if not lines:
        return f"{module} could not be read (exit code {code})"
    return lines[-1].removeprefix("regrain: ")
