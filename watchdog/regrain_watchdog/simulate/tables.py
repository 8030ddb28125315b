"""Tables of a scenario as values, with errors that name the setting and what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from regrain.errors import SpecError
from regrain.units import parse_seconds
from regrain_watchdog.simulate.trace import Trace

FILES = ("file", "manifest", "profile", "plan")
DURATIONS = ("duration", "seconds", "latency", "period")
FOLDERS = (".", "..")
"""That are named without a slash."""

S = TypeVar("S", bound=Struct)
T = TypeVar("T")


def one_of(kinds: tuple[type[S], ...], raw: object, where: str) -> S:
    """Return a table as a value: of the only kind there is, or of the one that it names."""
    table = entries(raw, where)
    if len(kinds) > 1:
        names = {str(kind.__struct_config__.tag): kind for kind in kinds}
        named = table.get("kind")
        if not isinstance(named, str) or named not in names:
            raise SpecError(f"{where}.kind must be one of {', '.join(names)}; was {named!r}")
        kind = names[named]
    else:
        kind = kinds[0]
    tag = kind.__struct_config__.tag_field
    if "trace" in table and "trace" in kind.__struct_fields__:
        one_of((Trace,), table["trace"], f"{where}.trace")
    return value(kind, (*kind.__struct_fields__, *([tag] if tag else [])), table, where)


def value(kind: type[T], settings: tuple[str, ...], raw: object, where: str) -> T:
    """Return a table as a value of a kind that has these settings."""
    table = entries(raw, where)
    check_keys(table, settings, where)
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise SpecError(f"{where}: {str(error).replace('$.', '')}") from error


def check_keys(table: Mapping[str, object], allowed: tuple[str, ...], where: str) -> None:
    """Refuse a setting that there is none of."""
    unknown = [key for key in table if key not in allowed]
    if unknown:
        raise SpecError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(allowed)}")


def entries(raw: object, where: str) -> dict[str, object]:
    """Return a copy of a table; SpecError for what is none."""
    if not isinstance(raw, dict):
        raise SpecError(f"{where} must be a table, was {raw!r}")
    return dict(raw)


def several(raw: object, where: str) -> list[object]:
    """Return a list of tables; SpecError for what is no list."""
    if not isinstance(raw, list):
        raise SpecError(f"{where} must be a table or a list of tables, was {raw!r}")
    return raw


def resolved(raw: dict[str, object], folder: Path, within: str = "") -> dict[str, object]:
    """Return tables with durations in seconds, and names of files as seen from the scenario's folder.

    Args:
        raw: the tables.
        folder: the scenario's.
        within: which table of it this is, as "apps.ocr."; "" for the whole.

    Raises:
        SpecError: what should be a duration is none.
    """
    return {key: _resolved(key, entry, folder, within + key) for key, entry in raw.items()}


def _resolved(key: str, entry: object, folder: Path, where: str) -> object:
    if isinstance(entry, dict):
        return resolved(entry, folder, f"{where}.")
    if isinstance(entry, list):
        return [
            resolved(inner, folder, f"{where}[{place}].") if isinstance(inner, dict) else inner
            for place, inner in enumerate(entry)
        ]
    if not isinstance(entry, str) or not entry:
        return entry
    if key in FILES or (key == "module" and _is_path(entry)):
        return str(folder / entry)
    return parse_seconds(entry, where) if key in DURATIONS else entry


def _is_path(module: str) -> bool:
    """Whether a module is named by its file or its folder, and not by its dotted name."""
    where = module.partition(":")[0]
    return "/" in module or where.endswith(".py") or where in FOLDERS
