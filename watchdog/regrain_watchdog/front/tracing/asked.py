"""Whether traces are asked for, by the variables that OpenTelemetry defines for every program.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrain_watchdog.front.tracing.export import Export

logger = logging.getLogger(__name__)

DISABLED = "OTEL_SDK_DISABLED"
EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OTLP, CONSOLE, NONE = "otlp", "console", "none"
SPOKEN = "http/protobuf"


def open_export(environ: Mapping[str, str]) -> Export | None:
    """Return what takes the spans of this process; None where nobody asks for any, or they cannot be had.

    The variables may be meant for the code of stages alone, so what we do not speak is a warning and no error.
    """
    kind = asked(environ)
    if not kind:
        return None
    protocol = next((environ[name] for name in PROTOCOLS if environ.get(name)), SPOKEN)
    if kind == OTLP and protocol.strip().lower() != SPOKEN:
        logger.warning("no traces are sent: OTLP goes by %s here, not by %s", SPOKEN, protocol)
        return None
    try:
        from regrain_watchdog.front.tracing.export import Export as Found  # noqa: PLC0415  # only where asked for

        return Found.open(kind)
    except ImportError as error:
        logger.warning("no traces are sent: %s; pip install 'regrain[otel]'", error)
    except ValueError as error:  # of the library, about one of its variables
        logger.warning("no traces are sent: %s", error)
    return None


def asked(environ: Mapping[str, str]) -> str:
    """Return where spans are to go: "otlp", "console", or "" for nowhere."""
    if environ.get(DISABLED, "").strip().lower() == "true":
        return ""
    named = environ.get(EXPORTER, "").strip().lower()
    if named in (OTLP, CONSOLE):
        return named
    if named not in ("", NONE):
        logger.warning("no traces are sent: %s was %r, allowed are otlp, console, none", EXPORTER, named)
        return ""
    return OTLP if not named and any(environ.get(name) for name in ENDPOINTS) else ""
