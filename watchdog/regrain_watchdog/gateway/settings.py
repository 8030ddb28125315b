"""What the gateway is told at its start, and where its processes find each other's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from regrain.errors import SpecError
from regrain.hosts import is_address, is_loopback

PREFIX = "REGRAIN_GATEWAY_"
"""How the variables of the settings begin."""
SOCKET_PATH = 107
"""Bytes of a Unix socket's path at most."""


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of `regrain gateway`, which it hands to its processes; SpecError names one that is wrong.

    Attributes:
        state: the folder that everything is kept in.
        host, port: where clients come.
        metrics_port: of the Prometheus metrics. grpc_port: None for none.
        auth: whether `/system` and `/ui` ask for the password.
        payload_secret: the file that holds the key of builds; "" for the gateway's own.
    """

    state: str
    host: str = "127.0.0.1"
    port: int = 8080
    metrics_port: int = 8081
    grpc_port: int | None = None
    auth: bool = True
    payload_secret: str = ""

    def __post_init__(self) -> None:
        if not is_address(self.host):
            raise SpecError(f"--host: localhost or an IP address, was {self.host!r}")
        if not self.auth and not is_loopback(self.host):
            raise SpecError(
                f"--no-auth is for loopback alone: whoever reaches {self.host} could run anything"
            )
        if len(os.fsencode(self.control_socket)) > SOCKET_PATH:
            raise SpecError(f"--state: {self.state} is too long a path for sockets in it")

    @property
    def folder(self) -> Path:
        """The folder that everything is kept in."""
        return Path(self.state)

    @property
    def database(self) -> Path:
        """The store's file."""
        return self.folder / "gateway.db"

    @property
    def front_socket(self) -> Path:
        """Where the front answers the control plane."""
        return self.folder / "front.sock"

    @property
    def control_socket(self) -> Path:
        """Where the control plane answers what the front hands on."""
        return self.folder / "control.sock"

    @property
    def secrets(self) -> Path:
        """The folder of the secrets' files."""
        return self.folder / "secrets"

    @property
    def key(self) -> Path:
        """The file that holds the key of builds."""
        return Path(self.payload_secret or self.folder / "payload-secret")

    @property
    def logs(self) -> Path:
        """The folder of the functions' logs."""
        return self.folder / "logs"

    def log(self, namespace: str, name: str) -> Path:
        """Return the file of a function's log."""
        return self.logs / namespace / f"{name}.log"

    def encode(self) -> str:
        """Return it as one argument of a process."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> Settings:
        """Read such an argument."""
        return msgspec.json.decode(text, type=cls)


def default_state(environ: Mapping[str, str]) -> str:
    """Return where state is kept if nobody says otherwise: $XDG_STATE_HOME/regrain/gateway."""
    home = environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return str(Path(home) / "regrain" / "gateway")
