"""Start the product the way a user does: `regrain run`, with every port but the app's own left to chance."""

from __future__ import annotations

import sys
from pathlib import Path

APPS = Path(__file__).parent / "apps"
EXAMPLES = Path(__file__).parent.parent / "examples"


def command(app: str | Path, *, port: int, grain: str = "coarse") -> list[str]:
    """Return the command that serves an app."""
    flags = ["--port", str(port), "--metrics-port", "0", "--admin-port", "0", "--grain", grain]
    return [sys.executable, "-m", "regrain_watchdog.cli", "run", str(app), *flags, "--log-level", "warning"]
