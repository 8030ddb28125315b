"""A TCP listener of the front: granian's embedded server on a socket that we bind ourselves.

Granian binds with SO_REUSEPORT, so two fronts on one port would silently share its requests; and it does not
tell which port it got for port 0. A socket of our own does both right. A listener costs three threads, none
of which runs Python, and about half a megabyte.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from granian._granian import RSGIHTTPProtocol, SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.rsgi import Scope
from granian.server.embed import Server

from regrain.errors import SpecError

logger = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that wait to be accepted. In a full backlog a connection attempt is dropped, and tried again by the
caller's kernel a second later."""
QUIET = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}
"""A logging configuration that leaves ours alone; granian's own closes every handler there is."""


class Handler(Protocol):
    """An RSGI application."""

    async def __rsgi__(self, scope: Scope, proto: RSGIHTTPProtocol) -> None:
        """Answer one request."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of an HTTPS port, PEM: certificate chain, and its key without a passphrase.

    SpecError names the setting of files that are none or do not belong together.
    """

    cert: str
    key: str

    def __post_init__(self) -> None:
        for path, setting in ((self.cert, "cert"), (self.key, "key")):
            try:
                Path(path).read_bytes()
            except OSError as error:
                name = f"REGRAIN_TLS_{setting.upper()} (--tls-{setting})"
                raise SpecError(f"{name}: {path} cannot be read: {error.strerror}") from error
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert, self.key, _no_passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise SpecError(
                f"REGRAIN_TLS_CERT (--tls-cert), REGRAIN_TLS_KEY (--tls-key): {self.cert} and {self.key} are "
                f"no certificate and its key in PEM form without a passphrase: {error}"
            ) from error


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


class _Server(Server):
    def __init__(
        self,
        handler: Handler,
        bound: socket.socket,
        *,
        header_timeout: float,
        connections: int,
        tls: Tls | None,
    ) -> None:
        super().__init__(
            handler,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,  # in auto mode a silent connection stays open for ever
            websockets=False,
            runtime_threads=1,
            runtime_blocking_threads=1,
            blocking_threads=1,
            backlog=BACKLOG,
            backpressure=connections,
            http1_settings=HTTP1Settings(header_read_timeout=round(header_timeout * 1000)),
            log_enabled=False,
            log_dictconfig=QUIET,
            ssl_cert=Path(tls.cert) if tls else None,
            ssl_key=Path(tls.key) if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._bound = bound

    def _init_shared_socket(self) -> None:
        self._ssp = None
        # granian's stubs know neither this constructor nor that the attribute is more than None
        self._shd = SocketHolder(self._bound.detach(), False, self.backlog)  # type: ignore[call-arg,assignment]


class Listener:
    """Serves a handler on one address of this process' running loop.

    Args:
        handler: the RSGI application.
        host: address to bind; a name is resolved to its first address.
        port: 0 for any free one.
        name: which setting chooses the port, for the error where it is taken.
        header_timeout: seconds for a request's headers, and for a kept-alive connection to idle.
        connections: connections served at once.
        tls: the files of an HTTPS port; None for HTTP.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        *,
        name: str = "port",
        header_timeout: float = 30.0,
        connections: int = 1024,
        tls: Tls | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._name = name
        self._header_timeout = header_timeout
        self._connections = connections
        self._tls = tls
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port in use once started; before that the one asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where this process reaches the listener, such as "http://127.0.0.1:8080"."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{self._port}" if ":" in host else f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Accept connections from here on; SpecError if the address cannot be had."""
        bound = bind(self._host, self._port, name=self._name, backlog=BACKLOG)
        self._port = bound.getsockname()[1]
        self._server = _Server(
            self._handler,
            bound,
            header_timeout=self._header_timeout,
            connections=self._connections,
            tls=self._tls,
        )
        self._serving = asyncio.create_task(self._server.serve(), name=f"listener {self._name}")
        await asyncio.sleep(0)  # serve() hands the socket to granian's thread before it first waits
        if self._serving.done():
            self._serving.result()
        logger.debug("listening", extra={"url": self.url, "setting": self._name})

    async def stop(self, timeout: float) -> bool:
        """Stop accepting and let what is in flight finish; whether it did within `timeout` seconds.

        May be called again for what did not: granian's worker is never cancelled, as it would then fail where
        its last request ends after all.
        """
        if self._server is None or self._serving is None:
            return True
        self._server.stop()  # type: ignore[no-untyped-call]  # granian's server has no annotations
        await asyncio.wait({self._serving}, timeout=timeout)
        if not self._serving.done():
            return False
        self._server = self._serving = None
        return True


def bind(host: str, port: int, *, name: str, backlog: int) -> socket.socket:
    """Return a listening socket; SpecError says which setting to change where the address cannot be had."""
    variable, flag = f"REGRAIN_{name.upper()}", f"--{name.replace('_', '-')}"
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
        bound.listen(backlog)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise SpecError(
                f"port {port} on {host} is taken; choose another with {flag} or {variable} (0: any free one)"
            ) from error
        raise SpecError(
            f"cannot listen on {host} port {port} ({flag}, {variable}): {error.strerror}"
        ) from error
    bound.setblocking(False)
    return bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback
