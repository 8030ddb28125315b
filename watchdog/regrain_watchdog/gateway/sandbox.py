"""What a function's processes, and a build's, are started under, so that they harm neither each other nor the gateway.

Pure but for `probe`: util-linux does the work, in a shell that ends by becoming the process, so that inherited
descriptors and the process id stay what they were.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import join, quote

from regrain.errors import RegrainError

logger = logging.getLogger(__name__)

FIRST_USER, USERS = 50_000, 10_000
"""Users that functions run as: below 65 536, the most that a container may have, and above what accounts get."""
BUILDER = FIRST_USER - 1
"""The user that builds run as."""
OPENFAAS = "/var/openfaas"
SECRETS = f"{OPENFAAS}/secrets"
"""Where a function looks for its secrets."""
TABLE = f"{OPENFAAS}/.mounts"
SCRATCH = ("/tmp", "/var/tmp")  # noqa: S108 - a process gets its own
"""Where a process may write."""
HOMES = ("/root", "/home")
"""What it does not see, beside the gateway's state."""
TIED = ("--pdeathsig", "KILL")
PLAIN = "nosuid,nodev"
MACHINE = re.compile(
    r"PATH|PYTHONPATH|LANG|LANGUAGE|LC_\w+|TZ|LD_LIBRARY_PATH|(CUDA|NVIDIA|SSL)_\w+|(?i:\w+_proxy)|\w+_CA_BUNDLE"
)
"""Variables that a function and a build get from the gateway: paths, language, GPUs, network."""
INSTALLER = re.compile(r"PIP_\w+")
"""Variables of the gateway for installing requirements, and for nothing else: they may name indexes with a password."""
PROBE_TIMEOUT = 20.0
"""Seconds that starting an interpreter may take when the machine is asked what it allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What the machine allows.

    tools: util-linux's setpriv and prlimit work. drops: root's capabilities can be taken from processes.
    users: they may be given a user of their own. mounts: and see a file system of their own; both without the other are
    possible, and neither without `drops`. lacking: why not, in a sentence.
    """

    tools: bool = True
    drops: bool = False
    users: bool = False
    mounts: bool = False
    lacking: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """For each process: open files, processes of its user, bytes of a file; and bytes of its private /tmp.

    memory: bytes that a process may have of its own, 0 for any number; what it shares is not counted, nor are addresses
        that it only reserves, as CUDA does.
    """

    files: int = 8192
    processes: int = 4096
    file_size: int = 8 << 30
    scratch: int = 1 << 30
    memory: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Who is confined, and to what.

    user: whom it runs as where users can be had.
    home: a folder of its own in the gateway's state, for its secrets and temporary files without mounts.
    version: tells its secrets there from those of others with the same home.
    hidden: the gateway's state; nothing of it is seen but reads and writes.
    alone: its processes end with the first of them, and that with the thread that started it.
    """

    user: int
    home: str
    hidden: str
    version: str = "0"
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What comes before a command and into its environment; where it finds its secrets and temporary files."""

    prefix: tuple[str, ...]
    variables: Mapping[str, str]
    secrets: str

    def literal(self, text: str) -> str:
        """Return a command or a value with the path of the secrets as it is here."""
        return text.replace(SECRETS, self.secrets)


def user(namespace: str, name: str, taken: Collection[int]) -> int:
    """Return the user of a function: mostly the same one, and never one that is taken."""
    if len(taken) >= USERS:
        raise RegrainError(f"there are {USERS} users for functions, and each of them has one")
    offset = zlib.crc32(f"{namespace}/{name}".encode()) % USERS
    while FIRST_USER + offset in taken:
        offset = (offset + 1) % USERS
    return FIRST_USER + offset


def confine(cell: Cell, means: Means) -> Sandbox:
    """Return what to start a cell's processes under, with the means at hand."""
    secrets = SECRETS if means.mounts else f"{cell.home}/secrets/{cell.version}"
    scratch = SCRATCH[0] if means.mounts else f"{cell.home}/scratch"
    variables = {"HOME": scratch, "TMPDIR": scratch}
    prepared = _mounted(cell, means) if means.mounts else _unmounted(cell, means, secrets, scratch)
    script = "\n".join(["set -e", "umask 022", *prepared, join(["exec", *_limited(cell, means)]) + ' "$@"'])
    prefix = ("setpriv", *TIED) if cell.alone and means.tools else ()
    if means.mounts:
        alone = ("--pid", "--fork", "--kill-child", "--mount-proc") if cell.alone else ()
        prefix += ("unshare", "--mount", "--propagation", "private", *alone)
    return Sandbox(prefix=(*prefix, "sh", "-c", script, "sandbox"), variables=variables, secrets=secrets)


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return those of the gateway's variables that say how things are on this machine, and nothing of itself."""
    return {name: value for name, value in environ.items() if MACHINE.fullmatch(name)}


def installing(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what more of the gateway's variables whatever installs requirements gets."""
    return {name: value for name, value in environ.items() if INSTALLER.fullmatch(name)}


def python(environment: str) -> str:
    """Return the interpreter of a function's environment, the gateway's own for ""."""
    return f"{environment}/bin/python" if environment else sys.executable


def installation() -> tuple[str, ...]:
    """Return the folders that this Python and Regrain are in; a process of a function's reads them."""
    found = {sys.prefix, sys.base_prefix}
    found |= {entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))}
    for package in ("regrain", "regrain_runtime", "regrain_watchdog"):
        spec = importlib.util.find_spec(package)
        found |= {str(Path(place).parent) for place in (spec and spec.submodule_search_locations) or ()}
    return tuple(sorted(found | {str(Path(path).resolve()) for path in found}))


def probe(cell: Cell) -> Means:
    """Return the best means under which an interpreter imports Regrain here and reads what a cell is to read.

    With it comes why it is not better.
    """
    tried = [Means(), Means(tools=False)]
    lacking = ["only root can give functions users and file systems of their own"]
    if os.geteuid() == 0:
        least = Means(drops=True)
        tried = [replace(least, users=True, mounts=True), replace(least, users=True), least, *tried]
        lacking = []
    for means in tried:
        failure = _failure(confine(cell, means), cell.reads)
        if not failure:
            break
        lacking.append(failure)
        logger.debug("no sandbox with %s: %s", means, failure)
    return replace(means, lacking="; ".join(dict.fromkeys(lacking)))


def _failure(sandbox: Sandbox, reads: Iterable[str]) -> str:
    program = "import os, sys, regrain_runtime; [os.listdir(path) for path in sys.argv[1:]]"
    command = [*sandbox.prefix, sys.executable, "-c", program, *reads]
    environment = {**inherited(os.environ), **sandbox.variables}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT,
            env=environment,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1] if done.returncode else ""


def _mounted(cell: Cell, means: Means) -> Iterable[str]:
    """Hide what is not the function's, and bring back what of that it needs, read-only unless it may write."""
    yield join(["mkdir", "-p", OPENFAAS, *HOMES])
    yield join(["mount", "-t", "tmpfs", "-o", f"{PLAIN},mode=0755,size=16m", "regrain", OPENFAAS])
    yield join(["mkdir", SECRETS])
    for name, path in sorted(cell.secrets.items()):
        yield f"{_secret(cell, means, path)} {quote(f'{SECRETS}/{name}')}"
    table = "\n".join(" ".join([*map(_escaped, row), "0 0"]) for row in _table(cell))
    yield f"printf %s\\\\n {quote(table)} > {TABLE}"
    yield join(["mount", "--all", "--fstab", TABLE])


def _table(cell: Cell) -> Iterable[tuple[str, str, str, str]]:
    """Return what is mounted in one go, as fstab has it: source, place, type, options."""
    kept = [(path, f"{OPENFAAS}/.kept/{number}") for number, path in enumerate(_needed(cell))]
    for path, held in kept:
        yield path, held, "none", "bind,X-mount.mkdir"
    for place in SCRATCH:
        yield "regrain", place, "tmpfs", f"{PLAIN},mode=1777,size={cell.limits.scratch}"
    for place in (*HOMES, cell.hidden):
        yield "regrain", place, "tmpfs", f"{PLAIN},mode=0755,size=1m,X-mount.mkdir"
    for path, held in kept:
        yield held, path, "none", "bind,X-mount.mkdir" + ("" if path in cell.writes else ",ro")


def _escaped(text: str) -> str:
    return re.sub(r"[\s\\#]", lambda found: f"\\{ord(found[0]):03o}", text)


def _needed(cell: Cell) -> list[str]:
    """Return the folders that are brought back: those in a hidden place, and in none that is brought back itself."""
    wanted = sorted({*cell.reads, *cell.writes, *installation()})
    hidden = (*SCRATCH, *HOMES, cell.hidden)
    below = [path for path in wanted if any(path.startswith(f"{place}/") for place in hidden)]
    return [path for path in below if not any(path.startswith(f"{other}/") for other in below)]


def _unmounted(cell: Cell, means: Means, secrets: str, scratch: str) -> Iterable[str]:
    """Make folders for the secrets and the temporary files, and put the secrets there.

    This is done with the gateway's rights, again for each process and for many at once: what is around the folders is
    ours, so that no function puts a link in their place, and a secret replaces the one before as a whole.
    """
    user = _owner(means, cell.user, cell.user)
    passed = "0711" if user else "0700"
    yield join(["install", "-d", "-m", passed, *_owner(means, 0, 0), cell.home, f"{cell.home}/secrets"])
    yield join(["install", "-d", "-m", "0750", *_owner(means, 0, cell.user), secrets])
    yield join(["install", "-d", "-m", "0700", *user, scratch])
    for name, path in sorted(cell.secrets.items()):
        draft = quote(f"{secrets}/.{name}.") + "$$"
        yield f"{_secret(cell, means, path)} {draft}"
        yield f"mv -fT {draft} {quote(f'{secrets}/{name}')}"


def _secret(cell: Cell, means: Means, path: str) -> str:
    """Return what copies a secret to the path that follows, for the cell alone."""
    return join(["install", "-m", "0400", *_owner(means, cell.user, cell.user), path])


def _owner(means: Means, user: int, group: int) -> Sequence[str]:
    """Return whom `install` gives something to: root where there are no users; who is not root gives nothing."""
    if not means.users and not means.drops:
        return []
    owner = (user, group) if means.users else (0, 0)
    return ["-o", str(owner[0]), "-g", str(owner[1])]


def _limited(cell: Cell, means: Means) -> Sequence[str]:
    if not means.tools:
        return []
    limits = cell.limits
    prefix = ["prlimit", f"--nofile={limits.files}", f"--fsize={limits.file_size}", "--core=0"]
    if limits.memory:
        prefix.append(f"--data={limits.memory}")
    if means.users:
        number = str(cell.user)
        prefix += [
            f"--nproc={limits.processes}",
            "setpriv",
            "--reuid",
            number,
            "--regid",
            number,
            "--clear-groups",
        ]
    else:
        prefix.append("setpriv")
    if cell.alone:
        prefix += TIED  # a change of user has undone the first one
    dropped = ["--inh-caps=-all", "--bounding-set=-all"] if means.drops or means.users or means.mounts else []
    return [*prefix, "--no-new-privs", *dropped, "--"]
