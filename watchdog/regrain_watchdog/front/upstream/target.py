"""What `regrain run` is asked to serve, where that is no app: an upstream with its command and its name."""

from __future__ import annotations

import re
import shlex
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from regrain.errors import SpecError
from regrain.graph import Graph, Node, Ref
from regrain.manifest import Manifest, Parameter, StageSpec
from regrain_watchdog.front.config import Config
from regrain_watchdog.front.upstream.passage import GROUP
from regrain_watchdog.front.upstream.upstream import Address, Upstream

WSGI = "wsgi:"
"""What stands before MODULE:CALLABLE where gunicorn is to serve it."""
HERE = "."
"""The module that is served where none is named."""
THREADS = 4
CALLABLE = re.compile(r"[\w.]+:[\w.]+(\(.*\))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An upstream before it is started.

    name: of the app that it is told as. url: where it listens, "" where it is given a socket (WSGI).
    """

    name: str
    url: str
    command: tuple[str, ...]
    config: Config

    @property
    def manifest(self) -> Manifest:
        """The upstream as an app with one stage that takes a request, so that all that knows apps knows it."""
        return Manifest(
            app=self.name,
            stages=(StageSpec(name=GROUP, digest="", idempotent=False),),
            graph=Graph(("request",), (Node(GROUP, (Ref("$request"),)),), Ref(GROUP)),
            parameters=(Parameter(name="request", kind="request"),),
            answer=Parameter(name="", kind="request"),
            doc=" ".join(self.command) or self.url,
        )

    def make(self, environ: Mapping[str, str]) -> Upstream:
        """Return the upstream, not started yet; SpecError if its program does not exist."""
        if self.url:
            address = Address.parse(self.url)
            return Upstream(address, self.command, environment=environ, ready_path=self.config.ready_path)
        listening = socket.create_server(("127.0.0.1", 0), backlog=self.config.max_connections)
        return Upstream(
            Address(host="127.0.0.1", port=listening.getsockname()[1]),
            self.command,
            environment=environ,
            ready_path=self.config.ready_path,
            listening=listening,
        )


def find(config: Config, module: str) -> Target | None:
    """Return the upstream that settings or MODULE name; None if they name an app. SpecError if they disagree."""
    named = config.upstream_url or config.fprocess
    if module.startswith(WSGI):
        if named:
            raise SpecError(
                f"either {module} or an upstream (REGRAIN_UPSTREAM_URL, REGRAIN_FPROCESS), not both"
            )
        return _wsgi(config, module.removeprefix(WSGI))
    if not named:
        return None
    if module != HERE:
        raise SpecError(f"either {module} or an upstream (REGRAIN_UPSTREAM_URL, REGRAIN_FPROCESS), not both")
    if not config.upstream_url:
        raise SpecError(
            "REGRAIN_UPSTREAM_URL (--upstream-url) is missing: it says where the fprocess listens"
        )
    Address.parse(config.upstream_url)
    command = _split(config.fprocess)
    name = Path(command[0]).name if command else urlsplit(config.upstream_url).hostname or GROUP
    return Target(name=name, url=config.upstream_url, command=command, config=config)


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise SpecError(f"REGRAIN_FPROCESS (--fprocess): was {command!r}: {error}") from error


def _wsgi(config: Config, where: str) -> Target:
    """An upstream of gunicorn, which is given its socket; it serves no more at once than it has threads."""
    if not CALLABLE.fullmatch(where):
        raise SpecError(f"{WSGI}{where}: allowed is {WSGI}MODULE:CALLABLE, such as {WSGI}app:app")
    workers = config.replicas or "1"
    if not workers.isdecimal() or int(workers) < 1:
        raise SpecError(
            f"REGRAIN_REPLICAS (--replicas): was {workers!r}, for WSGI allowed is the number of workers"
        )
    command = (
        *(
            sys.executable,
            "-m",
            "gunicorn",
            "--config",
            "python:regrain_watchdog.front.upstream.gunicorn_ready",
        ),
        *("--workers", workers, "--worker-class", "gthread", "--threads", str(THREADS)),
        where,
    )
    places = config.max_inflight or int(workers) * THREADS
    name = where.partition(":")[0]
    return Target(name=name, url="", command=command, config=replace(config, max_inflight=places))
