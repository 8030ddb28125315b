"""The credentials that `faas-cli login` has kept."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from regrain.errors import SpecError
from regrain_watchdog.platforms.rest import Credentials

SIZE = 1 << 20
"""Bytes of the file at most."""


class _Login(Struct, frozen=True):
    gateway: str = ""
    auth: str = ""
    token: str = ""


class _Config(Struct, frozen=True):
    auths: list[_Login] | None = None


def load(gateway: str, environ: Mapping[str, str]) -> Credentials | None:
    """Return the credentials of a gateway; None if there are none. SpecError for a file that cannot be read."""
    path = file(environ)
    if not path.is_file():
        return None
    with path.open("rb") as opened:
        content = opened.read(SIZE + 1)
    try:
        if len(content) > SIZE:
            raise SpecError(f"{path} is larger than {SIZE} bytes")
        config = msgspec.yaml.decode(content, type=_Config)
    except msgspec.MsgspecError as error:
        raise SpecError(f"{path} is no configuration of faas-cli") from error
    wanted = gateway.rstrip("/").lower()
    for login in config.auths or ():
        if login.gateway.rstrip("/").lower() == wanted:
            return _credentials(login, path)
    return None


def file(environ: Mapping[str, str]) -> Path:
    """Return where faas-cli keeps its logins."""
    folder = environ.get("OPENFAAS_CONFIG") or (
        ".openfaas" if environ.get("CI") in ("true", "1") else "~/.openfaas"
    )
    return Path(folder).expanduser() / "config.yml"


def _credentials(login: _Login, path: Path) -> Credentials:
    if login.auth != "basic":
        raise SpecError(
            f"{path}: the login of {login.gateway} is of kind {login.auth!r}; only basic is supported"
        )
    try:
        user, colon, password = base64.b64decode(login.token, validate=True).decode().partition(":")
    except ValueError:
        colon = ""
    if not colon:
        raise SpecError(f"{path}: the token of {login.gateway} is no user and password in base64")
    return Credentials(user, password)
