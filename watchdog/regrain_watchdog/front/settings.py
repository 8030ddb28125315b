"""What a setting may be, how it is read, and how it is told.

A setting's kind (a port, a size, a choice) says what is allowed in the same words wherever it is refused or
documented.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from regrain.errors import SpecError
from regrain.hosts import LOCALHOST, is_address
from regrain.units import parse_bytes, parse_seconds, parse_switch

PREFIX = "REGRAIN_"
LAST_PORT = 65535
OFF = "off"
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a field of Config means to a user.

    Attributes:
        help: one sentence.
        allowed: what a value may be, for error messages and docs.
        parse: text to value; ValueError where the text is none of `allowed`.
        accepts: whether a value is one of `allowed`.
        unset: what happens where nobody sets it.
        is_switch: whether its flag takes no value and means "on".
    """

    help: str
    allowed: str
    parse: Callable[[str], object]
    accepts: Callable[[object], bool]
    unset: str = ""
    is_switch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A setting under its three names; `default` is the value's text."""

    name: str
    flag: str
    environment: str
    default: str
    setting: Setting


def text(help_: str, allowed: str, unset: str) -> dict[str, Setting]:
    """Return the kind of a setting that any text may be."""
    return setting(help_, allowed, str, lambda value: isinstance(value, str), unset)


def file(help_: str, unset: str) -> dict[str, Setting]:
    """Return the kind of a setting that names a file."""
    return text(help_, "the path of a file", unset)


def choice(help_: str, choices: tuple[str, ...]) -> dict[str, Setting]:
    """Return the kind of a setting that is one of a few words."""
    return setting(help_, ", ".join(choices), str.lower, lambda value: value in choices)


def switch(help_: str) -> dict[str, Setting]:
    """Return the kind of a setting that is on or off."""
    made = Setting(
        help=help_,
        allowed="on, off",
        parse=parse_switch,
        accepts=lambda value: isinstance(value, bool),
        is_switch=True,
    )
    return {"setting": made}


def count(help_: str, least: int = 1) -> dict[str, Setting]:
    """Return the kind of a setting that counts something."""
    allowed = f"whole numbers from {least}"
    return setting(help_, allowed, int, lambda value: isinstance(value, int) and value >= least)


def port(help_: str, unset: str = "") -> dict[str, Setting]:
    """Return the kind of a setting that is a port."""
    allowed = f"0 (any free port) to {LAST_PORT}"
    return setting(
        help_, allowed, int, lambda value: isinstance(value, int) and 0 <= value <= LAST_PORT, unset
    )


def port_or_off(help_: str, unset: str) -> dict[str, Setting]:
    """Return the kind of a setting that is a port, or None for a port that is not opened."""

    def parse(text: str) -> int | None:
        return None if text.lower() == OFF else int(text)

    def accepts(value: object) -> bool:
        return value is None or (isinstance(value, int) and 0 <= value <= LAST_PORT)

    return setting(help_, f"0 (any free port) to {LAST_PORT}, or {OFF}", parse, accepts, unset)


def size(help_: str, least: int) -> dict[str, Setting]:
    """Return the kind of a setting in bytes."""
    allowed = f'sizes such as "512Ki", "64Mi", "2Gi" or a number of bytes, from {least}'
    return setting(help_, allowed, parse_bytes, lambda value: isinstance(value, int) and value >= least)


def duration(help_: str, *, zero: bool = False) -> dict[str, Setting]:
    """Return the kind of a setting in seconds."""
    allowed = f'durations such as "300ms", "1.5s" or seconds, {"from 0" if zero else "over 0"}'
    return setting(
        help_,
        allowed,
        parse_seconds,
        lambda value: isinstance(value, int | float) and (0 < value < float("inf") or (zero and value == 0)),
    )


def setting(
    help_: str,
    allowed: str,
    parse: Callable[[str], object],
    accepts: Callable[[object], bool],
    unset: str = "",
) -> dict[str, Setting]:
    """Return what a field of Config has as its metadata."""
    return {"setting": Setting(help=help_, allowed=allowed, parse=parse, accepts=accepts, unset=unset)}


def url_path(help_: str, unset: str) -> dict[str, Setting]:
    """Return the kind of a setting that is a path of a URL, or not set."""
    return setting(help_, "paths such as /healthz", str, _is_url_path, unset)


def address(help_: str) -> dict[str, Setting]:
    """Return the kind of a setting that is an address to listen on."""
    return setting(help_, "localhost or an IP address", _address, _is_address)


def objective(help_: str, unset: str) -> dict[str, Setting]:
    """Return the kind of a setting that is a duration or not set; it stays text."""
    return setting(help_, 'durations over 0, such as "300ms" or "1.5s"', _objective, _is_objective, unset)


def _address(text: str) -> str:
    return text if text == LOCALHOST else str(ipaddress.ip_address(text))


def _is_address(value: object) -> bool:
    return isinstance(value, str) and is_address(value)


def _is_url_path(value: object) -> bool:
    return isinstance(value, str) and (value == "" or value.startswith("/"))


def _objective(text: str) -> str:
    parse_seconds(text)
    return text


def _is_objective(value: object) -> bool:
    try:
        return isinstance(value, str) and (value == "" or parse_seconds(value) > 0)
    except ValueError:
        return False


def parse(option: Option, text: str) -> object:
    """Return the value of a text; SpecError says what is allowed."""
    try:
        value = option.setting.parse(text.strip())
    except ValueError as error:
        raise refusal(option, text) from error
    if not option.setting.accepts(value):
        raise refusal(option, text)
    return value


def refusal(option: Option, value: object) -> SpecError:
    """Return the error of a value that an option may not have."""
    return SpecError(
        f"{option.environment} ({option.flag}): was {value!r}, allowed are {option.setting.allowed}"
    )


def option(name: str, default: object, setting: Setting) -> Option:
    """Return a setting under its names."""
    return Option(
        name=name,
        flag=f"--{name.replace('_', '-')}",
        environment=f"{PREFIX}{name.upper()}",
        default=_shown(default, setting),
        setting=setting,
    )


def _shown(value: object, setting: Setting) -> str:
    """A value as a user would write it."""
    if isinstance(value, bool):
        return "on" if value else OFF
    if setting.parse is parse_bytes and isinstance(value, int) and value % MIB == 0:
        return f"{value // MIB}Mi"
    return f"{value:g}s" if isinstance(value, float) else str(value)
