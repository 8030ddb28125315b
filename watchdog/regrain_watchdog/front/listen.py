"""A TCP listener of the front: a socket, where it is reached, and HTTP/1.1 on the loop that runs the app.

The socket is bound without SO_REUSEPORT, with which two fronts on one port would silently share its requests.
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from regrain.errors import SpecError
from regrain_watchdog.front.handler import Handler
from regrain_watchdog.front.http1.limits import BACKLOG, Limits
from regrain_watchdog.front.http1.port import Port
from regrain_watchdog.front.settings import PREFIX

logger = logging.getLogger(__name__)


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

    def context(self) -> ssl.SSLContext:
        """Return how to speak TLS with them, 1.2 or newer."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self.cert, self.key, _no_passphrase)
        return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


class Listener:
    """Serves a handler on one address of this process' running loop.

    Args:
        handler: answers the requests.
        host: address to bind; a name is resolved to its first address.
        port: 0 for any free one.
        name: which setting chooses the port, for the error where it is taken.
        header_timeout: seconds for a request's head, and for a kept connection to idle.
        write_timeout: seconds in which a caller must take something of what is sent to it.
        connections: connections open at once; further ones wait to be accepted.
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
        write_timeout: float = 30.0,
        connections: int = 1024,
        tls: Tls | None = None,
    ) -> None:
        self._handler = handler
        self._host = host
        self._port = port
        self._name = name
        self._limits = Limits(
            header_timeout=header_timeout, write_timeout=write_timeout, connections=connections
        )
        self._tls = tls
        self._open: Port | None = None

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
        context = self._tls.context() if self._tls else None
        bound = bind(self._host, self._port, name=self._name, backlog=BACKLOG)
        self._port = bound.getsockname()[1]
        self._open = Port(self._handler, bound, self._limits, context)
        self._open.start()
        logger.debug("listening", extra={"url": self.url, "setting": self._name})

    async def stop(self, timeout: float) -> bool:
        """Stop accepting and let what is in flight finish; whether it did within `timeout` seconds.

        May be called again for what did not.
        """
        if self._open is None:
            return True
        if not await self._open.stop(timeout):
            return False
        self._open = None
        return True

    def cut(self) -> None:
        """Close every connection as it is; who answers one is cancelled."""
        if self._open is not None:
            self._open.cut()


def bind(host: str, port: int, *, name: str, backlog: int, prefix: str = PREFIX) -> socket.socket:
    """Return a listening socket; SpecError says which setting to change where the address cannot be had.

    `name`: of that setting; `prefix`: how its variable begins.
    """
    variable, flag = f"{prefix}{name.upper()}", f"--{name.replace('_', '-')}"
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
