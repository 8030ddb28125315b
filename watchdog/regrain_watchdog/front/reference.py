"""docs/settings.md and docs/metrics.md, written from the settings and metrics themselves.

Run `python -m regrain_watchdog.front.reference docs` after changing either; a test holds them together.
"""

from __future__ import annotations

import sys
from pathlib import Path

from regrain_watchdog.front.config import options
from regrain_watchdog.front.named import METRICS, SECONDS, SIZES, Named
from regrain_watchdog.front.settings import Option

SETTINGS = """# Settings

Every setting has one name: `max_body` is `--max-body` on the command line and `REGRAIN_MAX_BODY` in the
environment; the flag wins. A value that is not allowed ends the command with exit code 2. An empty variable
counts as unset.

Sizes are bytes or like `512Ki`, `64Mi`, `2Gi`; durations are seconds or like `300ms`, `1.5s`.

In Kubernetes, a Service called "regrain" would put a `REGRAIN_PORT` of its own into every pod: set
`enableServiceLinks: false`.

| flag | variable | default | what it is | allowed |
|---|---|---|---|---|
"""
ELSEWHERE = """
The commands that ask a running app (`status`, `invoke`, `slow`, ...) find it by its run file, in
`$XDG_RUNTIME_DIR/regrain` or, without that, in `/tmp/regrain-UID`. `--app` chooses one of several. `--url` or
`REGRAIN_URL` is the admin address of an app, and goes before the run files.
"""
METRICS_HEAD = """# Metrics

`GET /metrics` on the metrics port, in Prometheus' text format. The `http_` ones are of-watchdog's, so that
dashboards made for it go on working; `process_` ones tell of the front's own process. Behind `regrain gateway`
each app's are on [the gateway's page](gateway.md#metrics).

| name | type | labels | what it is |
|---|---|---|---|
"""


def settings() -> str:
    """Return docs/settings.md."""
    return SETTINGS + "".join(map(_setting_row, options())) + ELSEWHERE


def metrics() -> str:
    """Return docs/metrics.md."""
    buckets = (
        f"\nHistograms of seconds have the bounds {_bounds(SECONDS)}; those of sizes {_bounds(SIZES)}.\n"
        "A request counts as hit or miss as docs/glossary.md defines it.\n"
    )
    return METRICS_HEAD + "".join(map(_metric_row, METRICS)) + buckets


def write(docs: Path) -> None:
    """Write both pages into a folder."""
    (docs / "settings.md").write_text(settings())
    (docs / "metrics.md").write_text(metrics())


def _setting_row(option: Option) -> str:
    default = option.setting.unset or f"`{option.default}`"
    allowed = option.setting.allowed.replace("|", "\\|")
    if option.setting.is_switch:
        allowed += "; the flag takes no value and means on"
    return f"| `{option.flag}` | `{option.environment}` | {default} | {option.setting.help} | {allowed} |\n"


def _metric_row(named: Named) -> str:
    name = f"{named.name}_total" if named.kind == "counter" else named.name
    return f"| `{name}` | {named.kind} | {', '.join(named.labels)} | {named.help} |\n"


def _bounds(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
